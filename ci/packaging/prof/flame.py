"""A flame graph as SVG: callers above what they call, width is memory."""
import html
import zlib
from collections import defaultdict

from stacks import grow, percent
from symbols import printed

WIDE, ROW, EDGE, TOP, LETTER, LEAST = 1200, 19, 14, 80, 7.3, 0.8  # pixels

STYLE = """
svg { font: 12px ui-monospace, "DejaVu Sans Mono", monospace; }
.title { font: 600 15px system-ui, "DejaVu Sans", sans-serif; fill: #1d2330; }
.note { font: 12px system-ui, "DejaVu Sans", sans-serif; fill: #5b6475; }
.f rect { stroke: #fff; stroke-width: 0.6; rx: 2px; }
.f text { fill: #1d2330; pointer-events: none; }
.f:hover rect { stroke: #1d2330; stroke-width: 1; cursor: pointer; }
.f.dim { opacity: 0.25; }
"""

# A click on a function makes it as wide as the picture; on the top row, all is shown again.
SCRIPT = """
const all = [...document.querySelectorAll('.f')].map(g => ({g, r: g.querySelector('rect'), t: g.querySelector('text'),
  x: +g.dataset.x, w: +g.dataset.w, d: +g.dataset.d, n: g.dataset.n}));
function show(f) {
  for (const e of all) {
    const above = e.d < f.d && e.x <= f.x && e.x + e.w >= f.x + f.w;
    const x = above ? 0 : (e.x - f.x) / f.w, w = above ? 1 : e.w / f.w;
    const seen = above || (x > -1e-9 && x + w < 1 + 1e-9 && w * SPACE >= LEAST);
    e.g.style.display = seen ? '' : 'none';
    e.g.classList.toggle('dim', above && e !== f);
    e.r.setAttribute('x', EDGE + x * SPACE);
    e.r.setAttribute('width', w * SPACE);
    e.t.setAttribute('x', EDGE + x * SPACE + 4);
    const room = Math.floor((w * SPACE - 8) / LETTER);
    e.t.textContent = room < 3 ? '' : e.n.length <= room ? e.n : e.n.slice(0, room - 1) + '\\u2026';
  }
}
for (const e of all) e.g.addEventListener('click', () => show(e));
"""


def colour_by_file(frame, files):
    """A hue for each file; the function moves it a little, so that neighbours differ."""
    if not frame[1]:
        return "hsl(220,8%,82%)"
    shade = zlib.crc32(frame[0].encode()) % 7
    return f"hsl({(28 + 137 * files.index(frame[1])) % 360},{72 - shade}%,{70 + shade}%)"


def colour_by_change(node, most):
    share = (node.value - node.before) / most if most else 0
    strength = min(1, abs(share)) ** 0.5
    return f"hsl({8 if share > 0 else 212},{80 * strength:.0f}%,{88 - 26 * strength:.0f}%)"


def svg(stacks, base):
    root, space = grow(stacks, base), WIDE - 2 * EDGE
    most = max((abs(n.value - n.before) for n in root.below.values()), default=0)
    weight = defaultdict(int)
    for stack, amount in stacks.value.items():
        for file in {file for _, file in stack if file}:
            weight[file] += amount
    files = sorted(weight, key=lambda file: (-weight[file], file))
    boxes, total = [], root.width

    if total:
        boxes.append((("all", ""), 0, 0.0, root))
    for _, depth, x, node in boxes:
        for frame, child in sorted(node.below.items(), key=lambda item: (-item[1].width, item[0])):
            if child.width * space >= LEAST * total:
                boxes.append((frame, depth + 1, x, child))
            x += child.width / total
    rows = 1 + max((depth for _, depth, _, _ in boxes), default=0)
    high = TOP + rows * ROW + EDGE
    before = f", before {stacks.say(base.total)}" if base else ""
    out = [f'<svg xmlns="http://www.w3.org/2000/svg" width="{WIDE}" height="{high}" viewBox="0 0 {WIDE} {high}">',
           f"<style>{STYLE}</style>", '<rect width="100%" height="100%" fill="#fff"/>',
           f'<text class="title" x="{EDGE}" y="25">{html.escape(title(stacks, base))}</text>',
           f'<text class="note" x="{EDGE}" y="45">{html.escape(stacks.head())}{before}; '
           f'{"red took more than before, blue less; " if base else ""}'
           'width is memory, callers above; click a box to enlarge it, the uppermost to see all</text>']
    for frame, depth, x, node in boxes:
        width = node.width / total
        if depth:
            fill = colour_by_change(node, most) if base else colour_by_file(frame, files)
        else:
            fill = "hsl(220,14%,90%)"
        out.append(box(stacks, base, frame, fill, (depth, TOP + depth * ROW, x, width), node, space))
    if not base:
        x = EDGE
        for file in files[:8]:
            out.append(f'<rect x="{x}" y="{TOP - 23}" width="11" height="11" rx="2" fill="{colour_by_file(("", file), files)}"/>'
                       f'<text class="note" x="{x + 15}" y="{TOP - 13}">{html.escape(file)}</text>')
            x += 34 + 7 * len(file)
    script = SCRIPT.replace("SPACE", str(space)).replace("EDGE", str(EDGE)).replace("LETTER", str(LETTER)).replace("LEAST", str(LEAST))
    out += [f"<script><![CDATA[{script}]]></script>", "</svg>"]
    return "\n".join(out) + "\n"


def title(stacks, base):
    return printed(f"{base.path} → {stacks.path}" if base else stacks.path)


def box(stacks, base, frame, fill, where, node, space):
    depth, y, x, width = where
    name, file = frame
    room = int((width * space - 8) / LETTER)
    label = "" if room < 3 else name if len(name) <= room else name[:room - 1] + "…"
    share = f"{stacks.say(node.value)}, {percent(node.value, stacks.total).strip()}"
    if base:
        share += f"; before {stacks.say(node.before)}"
    tip = html.escape(f"{name}{f' [{file}]' if file else ''}: {share}")
    return (f'<g class="f" data-x="{x:.9f}" data-w="{width:.9f}" data-d="{depth}" data-n="{html.escape(name)}">'
            f"<title>{tip}</title>"
            f'<rect x="{EDGE + x * space:.2f}" y="{y}" width="{width * space:.2f}" height="{ROW - 1}" fill="{fill}"/>'
            f'<text x="{EDGE + x * space + 4:.2f}" y="{y + 13}">{html.escape(label)}</text></g>')
