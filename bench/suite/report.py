"""All reports of a results folder, made from its samples."""
import shlex

from . import Problem, analysis, plots, report_html, report_text

terminal = report_text.terminal


def write(folder):
    run = folder.read("run.json")
    environment = folder.read("environment.json")
    environment.pop("format")
    result = analysis.analyse(folder, run, environment)
    folder.write("results.json", result)
    folder.write("results.csv", report_text.table_csv(result))
    folder.write("report.md", report_text.markdown(result))
    folder.write("table.txt", report_text.terminal(result))
    try:
        plots.draw(result, folder.path / "plots")
    except OSError as error:
        raise Problem(f"cannot write {folder.path / 'plots'}: {error.strerror}; the samples are "
                      f"kept, ci/bench report {shlex.quote(str(folder.path))} goes on from them") from None
    folder.write("report.html", report_html.page(result, folder))
    return result
