"""Drawings, each as SVG in the folder and for the page.

Colours that must follow the page's light or dark scheme are drawn as INK and LINE and
become CSS variables in the page's copy.
"""
import io
import re

import matplotlib

matplotlib.use("Agg")
import matplotlib.pyplot as pyplot  # noqa: E402  (after the backend is chosen)
from matplotlib.lines import Line2D  # noqa: E402
from matplotlib.ticker import FuncFormatter, MaxNLocator, NullFormatter  # noqa: E402

from . import analysis, groups, units  # noqa: E402

INK, LINE = "#123457", "#c3c7cb"  # stand for the page's text and line colours
COLOURS = {"glibc": "#8a8f98", "mymalloc": "#e8590c", "mimalloc": "#1c7ed6",
           "tcmalloc": "#2f9e44", "jemalloc": "#9c36b5"}
OTHERS = ("#0c9aa8", "#d6a100", "#e64980", "#6741d9", "#5c940d")
MARKS = {"glibc": "s", "mymalloc": "o", "mimalloc": "^", "tcmalloc": "v", "jemalloc": "D"}
STYLE = {
    "font.family": "DejaVu Sans", "font.size": 10, "svg.fonttype": "none",
    "svg.hashsalt": "mymalloc", "text.color": INK, "axes.labelcolor": INK,
    "axes.edgecolor": LINE, "xtick.color": INK, "ytick.color": INK, "grid.color": LINE,
    "axes.grid": True, "grid.linewidth": 0.6, "axes.axisbelow": True,
    "axes.spines.top": False, "axes.spines.right": False, "legend.frameon": False,
    "axes.titlesize": 11, "axes.titlelocation": "left", "figure.constrained_layout.use": True,
}
WIDTH = 7.2  # inches; the page shows it at this width or scrolls


class Palette:
    def __init__(self, columns):
        names = [column["name"] for column in columns]
        unknown = [name for name in names if name not in COLOURS]
        self.colours = COLOURS | {name: OTHERS[i % len(OTHERS)] for i, name in enumerate(unknown)}

    def __getitem__(self, name):
        return self.colours[name]


def draw(result, folder):
    """[(section, caption, svg text)]; files are written to the folder as well."""
    folder.mkdir(exist_ok=True)
    for old in folder.glob("*.svg"):
        old.unlink()
    palette = Palette(result["columns"])
    drawings = []
    with pyplot.rc_context(STYLE):
        for name, section, caption, figure in figures(result, palette):
            drawings.append((section, caption, save(figure, folder / name)))
            pyplot.close(figure)
    return drawings


def save(figure, path):
    text = io.StringIO()
    figure.savefig(text, format="svg", transparent=True, metadata={"Date": None})
    svg = text.getvalue()
    path.with_suffix(".svg").write_text(svg, encoding="utf-8")
    svg = svg[svg.index("<svg"):]
    svg = svg.replace(INK, "var(--ink)").replace(LINE, "var(--line)")
    # Matplotlib names its groups alike in every figure; one page holds many.
    prefix = re.sub(r"\W", "_", path.name)
    svg = re.sub(r'\bid="', f'id="{prefix}-', svg)
    svg = re.sub(r'href="#', f'href="#{prefix}-', svg)
    return re.sub(r"url\(#", f"url(#{prefix}-", svg)


def figures(result, palette):
    workloads = dict.fromkeys(cell["workload"] for cell in result["cells"])
    for workload in workloads:
        cells = [cell for cell in result["cells"] if cell["workload"] == workload]
        if figure := ratio_chart(cells, result, palette):
            yield (f"ratio-{workload}", "Speed, with 95 % intervals",
                   f"{workload}: speed relative to {result['reference']}; the bar is the interval, to the "
                   "right is faster. Hollow: no difference to it shown, or too few rounds. "
                   "⁺: more threads than cores.", figure)
    if figure := pareto(result, palette):
        yield ("pareto", "Speed against memory",
               "Each small mark is a cell, each large one the workload's geometric mean: "
               "up is faster, left is smaller (memory above the process's start, where known).", figure)
    for family, points in families(result, r"/(threads|pairs):(\d+)").items():
        yield ("scaling-" + slug(family), "Thread scaling",
               f"{family}: more threads; beyond the dotted line there are more threads than cores.",
               curves(points, result, palette, family_axis(family)))
    for family, points in families(result, r"/(?:size:)?(\d+)(B|K|M|KiB|MiB)?(?=/|$)", sizes=True).items():
        yield ("sizes-" + slug(family), "Size sweep", f"{family}: time of an operation by size.",
               curves(points, result, palette, "object size", per_op=True))
    for cell in result["cells"]:
        if any(row.get("timeline") for row in cell["rows"]):
            yield ("rss-" + slug(cell["name"]), "RSS over time",
                   f"{cell['name']}: resident memory; the dotted line is what the program held.",
                   timeline(cell, palette))
    for cell in result["cells"]:
        if any("malloc_p99_ns" in row.get("more", {}) for row in cell["rows"]):
            yield ("latency-" + slug(cell["name"]), "Latency",
                   f"{cell['name']}: sampled calls; each includes the cost of reading the clock "
                   f"({timer(cell)}).", latency(cell, palette))


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


def ratio_chart(cells, result, palette):
    """A row a cell; in it a mark and its interval per allocator."""
    columns = [column["name"] for column in result["columns"]][1:]
    shown = [(cell, {row["column"]: row["ratios"]["speed"] for row in cell["rows"]
                     if row["runs"] and row["ratios"]["speed"]}) for cell in cells]
    shown = [(cell, ratios) for cell, ratios in shown if ratios]
    if not shown:
        return None
    step = min(0.72 / max(1, len(columns) - 1), 0.3)
    height = (0.1 + 0.17 * len(columns)) * len(shown) + 1.2
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
                axes.plot([ratio["low"], ratio["high"]], [y, y], color=palette[name], linewidth=2.2,
                          solid_capstyle="butt")
            axes.plot(ratio["median"], y, MARKS.get(name, "P"), color=palette[name], markersize=5.5,
                      markerfacecolor=palette[name] if sure else "none")
            low = min(low, ratio["low"] or ratio["median"])
            high = max(high, ratio["high"] or ratio["median"])
    axes.axvline(1, color=palette[result["reference"]], linewidth=1.4)
    axes.set_xscale("log")
    axes.set_xlim(low / 1.08, high * 1.08)
    ratio_ticks(axes, low / 1.08, high * 1.08)
    axes.set_yticks(range(len(shown)), [short(cell["name"]) + (" ⁺" if cell["crowded"] else "")
                                        for cell, _ in shown])
    axes.set_ylim(len(shown) - 0.5, -0.5)
    axes.grid(axis="y", visible=False)
    axes.set_xlabel(f"speed relative to {result['reference']}")
    legend(figure, columns, palette)
    return figure


def legend(figure, names, palette):
    handles = [Line2D([], [], color=palette[name], marker=MARKS.get(name, "P"), linestyle="",
                             label=name) for name in names]
    across = min(len(names), int(figure.get_figwidth() / 1.15))
    figure.legend(handles=handles, loc="upper left", ncols=across, handletextpad=0.2,
                  columnspacing=1.2)
    rows = -(-len(names) // across)
    figure.get_layout_engine().set(
        rect=(0, 0, 1, 1 - (0.12 + 0.2 * rows) / figure.get_figheight()))


def point(row):
    """(memory, speed) of a row, memory above the process's start where it is known."""
    ratios = row.get("ratios", {})
    memory = ratios.get("above") or ratios.get("peak")
    return (memory["median"], ratios["speed"]["median"]) if memory and ratios["speed"] else None


def pareto(result, palette):
    """Speed against memory, both relative to the reference, one panel a workload."""
    shown = [group for group in result["groups"] if any(point(row) for row in group["rows"])]
    if not shown:
        return None
    across = min(3, len(shown))
    down = -(-len(shown) // across)
    figure, grid = pyplot.subplots(down, across, figsize=(max(4.2, WIDTH * across / 2.6), 3.4 * down + 0.5),
                                   squeeze=False)
    cells = {cell["name"]: cell for cell in result["cells"]}
    for axes in grid.flat[len(shown):]:
        axes.set_visible(False)
    for axes, group in zip(grid.flat, shown):
        for row in group["rows"]:
            name = row["column"]
            if row["column"] == result["reference"]:
                axes.plot(1, 1, MARKS.get(name, "P"), color=palette[name], markersize=9)
            elif place := point(row):
                axes.plot(*place, MARKS.get(name, "P"), color=palette[name], markersize=9)
                small_marks(axes, group, cells, name, palette)
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
    legend(figure, [column["name"] for column in result["columns"]], palette)
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


def small_marks(axes, group, cells, name, palette):
    for cell_name in group["counted"]["speed"]:
        row = next(row for row in cells[cell_name]["rows"] if row["column"] == name)
        if place := point(row):
            axes.plot(*place, MARKS.get(name, "P"), color=palette[name], markersize=3.5, alpha=0.45,
                      markeredgewidth=0)


def to_bytes(number, unit):
    return int(number) * {"": 1, "B": 1, "K": 1024, "KiB": 1024, "M": 2**20, "MiB": 2**20}[unit or ""]


def families(result, pattern, sizes=False):
    """{family: [(x, cell)]} of cells that differ in one number only, three at least."""
    found = {}
    for cell in result["cells"]:
        for match in () if groups.is_latency(cell["name"]) else re.finditer(pattern, cell["name"]):
            star = cell["name"][:match.start()] + "/" + ("SIZE" if sizes else match[1] + ":N") \
                + cell["name"][match.end():]
            x = to_bytes(match[1], match[2]) if sizes else int(match[2])
            found.setdefault(star, []).append((x, cell))
    return {family: sorted(points, key=lambda point: point[0]) for family, points in found.items()
            if len(points) >= (4 if sizes else 3)}


def family_axis(family):
    return "producer-consumer pairs" if "pairs:" in family else "threads"


def curves(points, result, palette, label, per_op=False):
    figure, axes = pyplot.subplots(figsize=(WIDTH, 3.6))
    for column in result["columns"]:
        name = column["name"]
        line = [(x, row["speed"]) for x, cell in points for row in cell["rows"]
                if row["column"] == name and row["runs"]]
        if line:
            xs, speeds = zip(*line)
            axes.plot(xs, [1e9 / s for s in speeds] if per_op else [s / 1e6 for s in speeds],
                      color=palette[name], marker=MARKS.get(name, "P"), markersize=5, linewidth=1.6)
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
        cores = result["environment"]["machine"]["CPUs allowed (affinity)"]
        doubled = 2 if label.startswith("producer") else 1
        if points[0][0] * doubled <= cores < points[-1][0] * doubled:
            axes.axvline(cores / doubled * 2**0.5, color=INK, linestyle=":", linewidth=1)
    axes.set_xlabel(label)
    axes.set_ylabel("ns per operation" if per_op else "million operations/s")
    legend(figure, [column["name"] for column in result["columns"]], palette)
    return figure


def plain_size(x):
    """32768 -> 32K: powers of two need no decimals."""
    for unit in ("", "K", "M", "G"):
        if x < 1024:
            return f"{x:g}{unit or ' B'}"
        x /= 1024
    return f"{x:g}T"


def timeline(cell, palette):
    figure, axes = pyplot.subplots(figsize=(WIDTH, 3.4))
    shown, live = [], None
    for row in cell["rows"]:
        if not row.get("timeline"):
            continue
        shown.append(row["column"])
        live = live or row["timeline"]
        axes.plot([point[0] for point in row["timeline"]],
                  [point[2] / 2**20 for point in row["timeline"]],
                  color=palette[row["column"]], linewidth=1.6)
    axes.plot([point[0] for point in live], [point[1] / 2**20 for point in live], color=INK,
              linestyle=":", linewidth=1.2)
    axes.set_ylim(bottom=0)
    axes.set_xlim(left=0)
    axes.set_xlabel("seconds since the workload began")
    axes.set_ylabel("MiB")
    legend(figure, shown, palette)
    return figure


def timer(cell):
    values = [row["more"]["timer_ns"] for row in cell["rows"] if "timer_ns" in row.get("more", {})]
    return f"about {min(values):.0f} ns" if values else "not told"


def latency(cell, palette):
    figure, panels = pyplot.subplots(1, 2, figsize=(WIDTH, 3.6), sharey=True)
    shown = [row for row in cell["rows"] if "malloc_p99_ns" in row.get("more", {})]
    for axes, call in zip(panels, ("malloc", "free")):
        for row in shown:
            values = [row["more"].get(f"{call}_{point}_ns") for point in analysis.PERCENTILES]
            axes.plot(range(4), values, color=palette[row["column"]],
                      marker=MARKS.get(row["column"], "P"), markersize=5, linewidth=1.6)
        axes.set_yscale("log")
        axes.set_xticks(range(4), ["p50", "p99", "p99.9", "max"])
        axes.set_title(call)
        axes.yaxis.set_major_formatter(FuncFormatter(
            lambda y, _: units.seconds(y / 1e9).replace(".00", "").replace(".0", "")))
        axes.yaxis.set_minor_formatter(NullFormatter())
    legend(figure, [row["column"] for row in shown], palette)
    return figure
