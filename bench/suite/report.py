"""All reports of a results folder, made from its samples."""
from . import analysis, plots, report_html, report_text

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
    drawings = plots.draw(result, folder.path / "plots")
    folder.write("report.html", report_html.page(result, run, drawings))
    return result
