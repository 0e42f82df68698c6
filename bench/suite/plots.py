"""Drawings as PNG, in the folder: each stands alone, with its title, its legend and its units."""
import re
import textwrap

import matplotlib

matplotlib.use("Agg")
import matplotlib.pyplot as pyplot  # noqa: E402  (after the backend is chosen)
from matplotlib.lines import Line2D  # noqa: E402
from matplotlib.ticker import FuncFormatter, MaxNLocator, NullFormatter  # noqa: E402

from . import analysis, palette, units  # noqa: E402
from .report_data import all_families  # noqa: E402

INK, LINE = "#1d2430", "#c3c7cb"
STYLE = {
    "font.family": "DejaVu Sans", "font.size": 10, "text.color": INK, "axes.labelcolor": INK,
    "axes.edgecolor": LINE, "xtick.color": INK, "ytick.color": INK, "grid.color": LINE,
    "axes.grid": True, "grid.linewidth": 0.6, "axes.axisbelow": True,
    "axes.spines.top": False, "axes.spines.right": False, "legend.frameon": False,
    "axes.titlesize": 11, "axes.titlelocation": "left", "figure.constrained_layout.use": True,
}
WIDTH, DPI = 7.2, 110  # inches, dots an inch: a phone's and a document's width


class Looks:
    """Colours by name; marks with mark(name)."""

    def __init__(self, columns):
        self.looks = palette.looks(columns)

    def __getitem__(self, name):
        return self.looks[name][0]

    def mark(self, name):
        return self.looks[name][2]


def draw(result, folder):
    """Files named by what they show."""
    folder.mkdir(exist_ok=True)
    for old in [*folder.glob("*.svg"), *folder.glob("*.png")]:
        old.unlink()
    looks = Looks(result["columns"])
    with pyplot.rc_context(STYLE):
        for name, figure in figures(result, looks):
            figure.savefig(folder / f"{name}.png", dpi=DPI, metadata={"Software": None})
            pyplot.close(figure)


def figures(result, looks):
    base = result["reference"]
    for workload in dict.fromkeys(cell["workload"] for cell in result["cells"]):
        cells = [cell for cell in result["cells"] if cell["workload"] == workload]
        if figure := ratio_chart(cells, result, looks):
            yield f"ratio-{workload}", headed(
                figure, f"{workload}: speed relative to {base}, with 95 % intervals; right is faster\n"
                "Hollow: no difference shown, or too few rounds. ⁺: more threads than cores.")
    if figure := pareto(result, looks):
        yield "pareto", headed(figure, "Speed against memory: large marks are a workload's geometric mean, small ones "
                               "its cells\nUp is faster, left is smaller (above the process's start, where known).")
    for family in all_families(result):
        points = [(x, result["cells"][place]) for x, place in family["points"]]
        kind = "sizes" if family["sizes"] else "scaling"
        yield f"{kind}-{slug(family['title'])}", headed(
            curves(points, result, looks, family["label"], family["sizes"], family["cores"]),
            f"{family['title']}: " + ("time of an operation by size" if family["sizes"] else
                                      "more threads; beyond the dotted line there are more than cores"))
    for cell in result["cells"]:
        if any(row.get("timeline") for row in cell["rows"]):
            yield f"rss-{slug(cell['name'])}", headed(
                timeline(cell, looks), f"{cell['name']}: resident memory; dotted: what the program held")
    for cell in result["cells"]:
        if any("malloc_p99_ns" in row.get("more", {}) for row in cell["rows"]):
            yield f"latency-{slug(cell['name'])}", headed(
                latency(cell, looks), f"{cell['name']}: sampled calls; reading the clock is in them ({timer(cell)})")


def slug(text):
    return re.sub(r"[^A-Za-z0-9]+", "-", text).strip("-")


def short(name):
    return name.split("/", 1)[-1]


def ratio_ticks(axes, low, high):
    steps = [0.01, 0.02, 0.05, 0.1, 0.2, 0.3, 0.5, 0.7, 0.8, 0.9, 1, 1.1, 1.25, 1.5, 2, 2.5, 3, 4, 5,
             7, 10, 15, 20, 30, 50, 100, 200, 500]
    inside = [1.0] if low <= 1 <= high else []
    apart = (high / low) ** 0.08  # labels nearer than this would touch
    for step in sorted(steps, key=lambda step: step not in (0.1, 0.5, 2, 5, 10)):
        if low <= step <= high and all(max(step / other, other / step) > apart for other in inside):
            inside.append(step)
    inside.sort()
    axes.set_xticks(inside)
    axes.set_xticks([], minor=True)
    axes.set_xticklabels([f"{step:g}×" for step in inside])


def ratio_chart(cells, result, looks):
    """A row a cell; in it a mark and its interval per allocator."""
    columns = [column["name"] for column in result["columns"]][1:]
    shown = [(cell, {row["column"]: row["ratios"]["speed"] for row in cell["rows"]
                     if row["runs"] and row["ratios"]["speed"]}) for cell in cells]
    shown = [(cell, ratios) for cell, ratios in shown if ratios]
    if not shown:
        return None
    step = min(0.72 / max(1, len(columns) - 1), 0.3)
    height = (0.1 + 0.17 * len(columns)) * len(shown) + 1.8
    figure, axes = pyplot.subplots(figsize=(WIDTH, height))
    low = high = 1.0
    for place, (cell, ratios) in enumerate(shown):
        if place % 2:
            axes.axhspan(place - 0.5, place + 0.5, color=LINE, alpha=0.18, linewidth=0)
        for i, name in enumerate(columns):
            ratio = ratios.get(name)
            if not ratio:
                continue
            y = place + (i - (len(columns) - 1) / 2) * step
            sure = ratio["verdict"] in ("above", "below")
            if ratio["low"]:
                axes.plot([ratio["low"], ratio["high"]], [y, y], color=looks[name], linewidth=2.2,
                          solid_capstyle="butt")
            axes.plot(ratio["median"], y, looks.mark(name), color=looks[name], markersize=5.5,
                      markerfacecolor=looks[name] if sure else "none")
            low = min(low, ratio["low"] or ratio["median"])
            high = max(high, ratio["high"] or ratio["median"])
    axes.axvline(1, color=looks[result["reference"]], linewidth=1.4)
    axes.set_xscale("log")
    axes.set_xlim(low / 1.08, high * 1.08)
    ratio_ticks(axes, low / 1.08, high * 1.08)
    axes.set_yticks(range(len(shown)), [short(cell["name"]) + (" ⁺" if cell["crowded"] else "")
                                        for cell, _ in shown])
    axes.set_ylim(len(shown) - 0.5, -0.5)
    axes.grid(axis="y", visible=False)
    axes.set_xlabel(f"speed relative to {result['reference']}")
    legend(figure, columns, looks)
    return figure


def legend(figure, names, looks):
    """At the top; headed() moves it below the title."""
    handles = [Line2D([], [], color=looks[name], marker=looks.mark(name), linestyle="", label=name) for name in names]
    longest = max((len(name) for name in names), default=1)
    across = max(1, min(len(names), int(figure.get_figwidth() / (0.45 + 0.085 * longest))))
    figure.legend(handles=handles, loc="upper left", ncols=across, handletextpad=0.2, columnspacing=1.2)
    figure.rows_of_legend = -(-len(names) // across)


def headed(figure, title):
    """The title, the legend, the axes: each has its room, in inches from the top."""
    lines = [part for line in title.split("\n")
             for part in textwrap.wrap(line, int(figure.get_figwidth() * 13.5), break_long_words=False)]
    room, height = 0.08 + 0.2 * len(lines), figure.get_figheight()
    figure.text(0.01, 1 - 0.06 / height, "\n".join(lines), va="top", ha="left", fontsize=10.5, linespacing=1.3)
    figure.legends[0].set_bbox_to_anchor((0, 0, 1, 1 - room / height))
    figure.get_layout_engine().set(rect=(0, 0, 1, 1 - (room + 0.12 + 0.22 * figure.rows_of_legend) / height))
    return figure


def point(row):
    """(memory, speed) of a row, memory above the process's start where it is known."""
    ratios = row.get("ratios", {})
    memory = ratios.get("above") or ratios.get("peak")
    return (memory["median"], ratios["speed"]["median"]) if memory and ratios["speed"] else None


def pareto(result, looks):
    """Speed against memory, both relative to the reference, one panel a workload."""
    shown = [group for group in result["groups"] if any(point(row) for row in group["rows"])]
    if not shown:
        return None
    across = min(3, len(shown))
    down = -(-len(shown) // across)
    figure, grid = pyplot.subplots(down, across, figsize=(max(4.2, WIDTH * across / 2.6), 3.4 * down + 0.9),
                                   squeeze=False)
    cells = {cell["name"]: cell for cell in result["cells"]}
    for axes in grid.flat[len(shown):]:
        axes.set_visible(False)
    for axes, group in zip(grid.flat, shown):
        for row in group["rows"]:
            name = row["column"]
            if row["column"] == result["reference"]:
                axes.plot(1, 1, looks.mark(name), color=looks[name], markersize=9)
            elif place := point(row):
                axes.plot(*place, looks.mark(name), color=looks[name], markersize=9)
                small_marks(axes, group, cells, name, looks)
        axes.set_xscale("log")
        axes.set_yscale("log")
        axes.axhline(1, color=LINE, linewidth=1)
        axes.axvline(1, color=LINE, linewidth=1)
        for axis in (axes.xaxis, axes.yaxis):
            few_log_ticks(axis)
        axes.set_title(group["workload"])
        axes.set_xlabel(f"memory relative to {result['reference']}")
    for axes in grid[:, 0]:
        axes.set_ylabel(f"speed relative to {result['reference']}")
    legend(figure, [column["name"] for column in result["columns"]], looks)
    return figure


def few_log_ticks(axis):
    low, high = axis.get_view_interval()
    for steps in ((1,), (1, 2, 5), (1, 1.2, 1.5, 2, 3, 5, 7),
                  (1, 1.1, 1.2, 1.3, 1.5, 1.7, 2, 2.5, 3, 4, 5, 6, 7, 8, 9)):
        ticks = [round(step * 10.0 ** power, 6) for power in range(-4, 5) for step in steps
                 if low <= step * 10.0 ** power <= high]
        if len(ticks) >= 3:
            break
    axis.set_ticks(ticks[:: -(-len(ticks) // 6)])
    axis.set_ticks([], minor=True)
    axis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}×"))


def small_marks(axes, group, cells, name, looks):
    for cell_name in group["counted"]["speed"]:
        row = next(row for row in cells[cell_name]["rows"] if row["column"] == name)
        if place := point(row):
            axes.plot(*place, looks.mark(name), color=looks[name], markersize=3.5, alpha=0.45,
                      markeredgewidth=0)


def curves(points, result, looks, label, per_op, cores):
    figure, axes = pyplot.subplots(figsize=(WIDTH, 4))
    for column in result["columns"]:
        name = column["name"]
        line = [(x, row["speed"]) for x, cell in points for row in cell["rows"]
                if row["column"] == name and row["runs"]]
        if line:
            xs, speeds = zip(*line)
            axes.plot(xs, [1e9 / s for s in speeds] if per_op else [s / 1e6 for s in speeds],
                      color=looks[name], marker=looks.mark(name), markersize=5, linewidth=1.6)
    axes.set_xscale("log", base=2)
    axes.set_xticks([x for x, _ in points][:: -(-len(points) // 12)])
    axes.set_xticks([], minor=True)
    axes.xaxis.set_major_formatter(FuncFormatter(
        lambda x, _: plain_size(x) if per_op else f"{x:g}"))
    if per_op:
        axes.set_yscale("log")
        axes.yaxis.set_major_formatter(FuncFormatter(lambda y, _: f"{y:g}"))
    else:
        axes.set_ylim(bottom=0)
        axes.yaxis.set_major_locator(MaxNLocator(6))
        if cores:
            axes.axvline(cores, color=INK, linestyle=":", linewidth=1)
    axes.set_xlabel(label)
    axes.set_ylabel("ns per operation" if per_op else "million operations/s")
    legend(figure, [column["name"] for column in result["columns"]], looks)
    return figure


def plain_size(x):
    """32768 -> 32K: powers of two need no decimals."""
    for unit in ("", "K", "M", "G"):
        if x < 1024:
            return f"{x:g}{unit or ' B'}"
        x /= 1024
    return f"{x:g}T"


def timeline(cell, looks):
    figure, axes = pyplot.subplots(figsize=(WIDTH, 3.8))
    shown, live = [], None
    for row in cell["rows"]:
        if not row.get("timeline"):
            continue
        shown.append(row["column"])
        live = live or row["timeline"]
        axes.plot([point[0] for point in row["timeline"]],
                  [point[2] / 2**20 for point in row["timeline"]],
                  color=looks[row["column"]], linewidth=1.6, marker=looks.mark(row["column"]),
                  markersize=5, markevery=0.12)
    if any(point[1] for point in live):  # of a server it is not known
        axes.plot([point[0] for point in live], [point[1] / 2**20 for point in live], color=INK,
                  linestyle=":", linewidth=1.2)
    axes.set_ylim(bottom=0)
    axes.set_xlim(left=0)
    axes.set_xlabel("seconds since the workload began")
    axes.set_ylabel("MiB")
    legend(figure, shown, looks)
    return figure


def timer(cell):
    values = [row["more"]["timer_ns"] for row in cell["rows"] if "timer_ns" in row.get("more", {})]
    return f"about {min(values):.0f} ns" if values else "not told"


def latency(cell, looks):
    figure, panels = pyplot.subplots(1, 2, figsize=(WIDTH, 4), sharey=True)
    shown = [row for row in cell["rows"] if "malloc_p99_ns" in row.get("more", {})]
    for axes, call in zip(panels, ("malloc", "free")):
        for row in shown:
            values = [row["more"].get(f"{call}_{point}_ns") for point in analysis.PERCENTILES]
            axes.plot(range(4), values, color=looks[row["column"]],
                      marker=looks.mark(row["column"]), markersize=5, linewidth=1.6)
        axes.set_yscale("log")
        axes.set_xticks(range(4), ["p50", "p99", "p99.9", "max"])
        axes.set_title(call)
        axes.yaxis.set_major_formatter(FuncFormatter(
            lambda y, _: units.seconds(y / 1e9).replace(".00", "").replace(".0", "")))
        axes.yaxis.set_minor_formatter(NullFormatter())
    legend(figure, [row["column"] for row in shown], looks)
    return figure
