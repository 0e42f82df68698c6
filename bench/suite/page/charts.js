// Charts as SVG, the marks that stand for columns, and what is shown of one cell.
"use strict";

const D = JSON.parse(document.getElementById("data").textContent);
const $ = name => document.getElementById(name);

function make(tag, attributes, ...children) {
    const svg = ["svg", "g", "path", "line", "text", "title", "polyline"].includes(tag);
    const element = svg ? document.createElementNS("http://www.w3.org/2000/svg", tag) : document.createElement(tag);
    for (const [key, value] of Object.entries(attributes || {}))
        if (value !== null)
            element.setAttribute(key, value);
    element.append(...children);
    return element;
}

// ---- figures as units.py writes them

function digits(value) {
    return value === 0 ? "0" : Math.abs(value) >= 100 ? value.toFixed(0)
        : Math.abs(value) >= 10 ? value.toFixed(1) : value.toFixed(2);
}

function scaled(value, steps, base) {
    let at = 0;
    while (at < steps.length - 1 && Math.abs(value) >= base) {
        value /= base;
        at++;
    }
    return digits(value) + steps[at];
}

const showRate = value => scaled(value, ["", " k", " M", " G"], 1000) + "/s";
const showSize = value => value < 1024 ? `${value.toFixed(0)} B` : scaled(value / 1024, [" KiB", " MiB", " GiB"], 1024);
const showSeconds = value => value < 1e-6 ? digits(value * 1e9) + " ns" : value < 1e-3 ? digits(value * 1e6) + " µs"
    : value < 1 ? digits(value * 1e3) + " ms" : digits(value) + " s";
const showTimes = value => value < 100 ? value.toFixed(2) + "×" : value.toFixed(0) + "×";

// ---- marks

function polygon(x, y, r, corners, turn) {
    const points = [];
    for (let i = 0; i < corners; i++) {
        const angle = turn + 2 * Math.PI * i / corners;
        points.push(`${(x + r * Math.sin(angle)).toFixed(1)} ${(y - r * Math.cos(angle)).toFixed(1)}`);
    }
    return `M${points.join("L")}Z`;
}

function star(x, y, r) {
    const points = [];
    for (let i = 0; i < 10; i++) {
        const far = i % 2 ? r * 0.45 : r * 1.15, angle = Math.PI * i / 5;
        points.push(`${(x + far * Math.sin(angle)).toFixed(1)} ${(y - far * Math.cos(angle)).toFixed(1)}`);
    }
    return `M${points.join("L")}Z`;
}

function cross(x, y, r, turn) {
    const arm = r * 0.38, path = [[-arm, -r], [arm, -r], [arm, -arm], [r, -arm], [r, arm], [arm, arm],
                                  [arm, r], [-arm, r], [-arm, arm], [-r, arm], [-r, -arm], [-arm, -arm]];
    const cos = Math.cos(turn), sin = Math.sin(turn);
    return "M" + path.map(([a, b]) => `${(x + a * cos - b * sin).toFixed(1)} ${(y + a * sin + b * cos).toFixed(1)}`)
        .join("L") + "Z";
}

// As matplotlib names them.
const shapes = {
    "s": (x, y, r) => polygon(x, y, r * 1.25, 4, Math.PI / 4), "o": (x, y, r) => polygon(x, y, r, 24, 0),
    "^": (x, y, r) => polygon(x, y, r * 1.2, 3, 0), "v": (x, y, r) => polygon(x, y, r * 1.2, 3, Math.PI),
    "D": (x, y, r) => polygon(x, y, r * 1.2, 4, 0), "P": (x, y, r) => cross(x, y, r, 0),
    "X": (x, y, r) => cross(x, y, r, Math.PI / 4), "*": star, "p": (x, y, r) => polygon(x, y, r * 1.1, 5, 0),
    "<": (x, y, r) => polygon(x, y, r * 1.2, 3, -Math.PI / 2), ">": (x, y, r) => polygon(x, y, r * 1.2, 3, Math.PI / 2),
    "h": (x, y, r) => polygon(x, y, r * 1.1, 6, 0)};

function markAt(column, x, y, r = 4) {
    return make("path", {class: `c${column} mark`, d: shapes[D.columns[column].mark](x, y, r)});
}

function swatch(column) {
    return make("svg", {class: "swatch", width: 14, height: 14, "aria-hidden": "true"}, markAt(column, 7, 7, 5));
}

function legend(columns) {
    return make("p", {class: "legend"}, ...columns.map(column => make("span", {}, swatch(column), D.columns[column].name)));
}

// ---- axes

function linearTicks(low, high, count) {
    const raw = (high - low) / count || 1, power = 10 ** Math.floor(Math.log10(raw));
    const step = [1, 2, 5, 10].map(factor => factor * power).find(size => size >= raw);
    const ticks = [];
    for (let i = Math.ceil(low / step - 1e-9); i * step <= high * (1 + 1e-9); i++)
        ticks.push(i * step);
    return ticks;
}

function logTicks(low, high, count) {
    for (const steps of [[1], [1, 3], [1, 2, 5], [1, 1.5, 2, 3, 5, 7], [1, 1.2, 1.4, 1.6, 1.8, 2, 2.5, 3, 4, 5, 6, 7, 8, 9]]) {
        const ticks = [];
        for (let power = Math.floor(Math.log10(low)); power <= Math.ceil(Math.log10(high)); power++)
            ticks.push(...steps.map(step => step * 10 ** power).filter(tick => tick >= low && tick <= high));
        if (ticks.length >= Math.min(3, count))
            return ticks;
    }
    return linearTicks(low, high, count);
}

// axis: {label, log, zero, ticks, show, values}; gives {at(value) in 0..1, ticks}
function axisOf(axis, count) {
    let low = Math.min(...axis.values), high = Math.max(...axis.values);
    if (axis.zero)
        low = 0;
    if (axis.log) {
        const room = Math.max(1.03, (high / low) ** 0.05);
        low /= room;
        high *= room;
    } else if (!axis.tight) {
        const room = (high - low) * 0.06 || Math.abs(high) * 0.05 || 1;
        low = axis.zero ? 0 : low - room;
        high += room;
    }
    const scale = axis.log ? Math.log : value => value;
    return {at: value => (scale(value) - scale(low)) / (scale(high) - scale(low) || 1),
            ticks: axis.ticks || (axis.log ? logTicks : linearTicks)(low, high, count)};
}

// series: [{column, points: [[x, y]], line, marks, class}]; rows: names on the y axis instead of figures
function chart({width = Math.max(300, Math.min(520, innerWidth - 70)), height = 240, x, y, series, rules = []}) {
    const left = y.left || 68, bottom = 42, top = 10, right = 14;
    const all = series.flatMap(one => one.points);
    const across = axisOf({values: all.map(point => point[0]), ...x}, 6);
    const up = axisOf({values: all.map(point => point[1]), ...y}, 5);
    const px = value => left + across.at(value) * (width - left - right);
    const py = value => height - bottom - up.at(value) * (height - bottom - top);
    const svg = make("svg", {class: "chart", viewBox: `0 0 ${width} ${height}`, role: "img",
                             "aria-label": `${y.label} by ${x.label}`});
    for (const tick of up.ticks)
        svg.append(make("line", {class: "grid", x1: left, x2: width - right, y1: py(tick), y2: py(tick)}),
                   make("text", {x: left - 6, y: py(tick) + 4, "text-anchor": "end"}, y.show(tick)));
    for (const tick of across.ticks)
        svg.append(make("line", {class: "grid", x1: px(tick), x2: px(tick), y1: top, y2: height - bottom}),
                   make("text", {x: px(tick), y: height - bottom + 16, "text-anchor": "middle"}, x.show(tick)));
    for (const rule of rules)
        svg.append(rule.x === undefined
            ? make("line", {class: "rule", x1: left, x2: width - right, y1: py(rule.y), y2: py(rule.y)})
            : make("line", {class: "rule", x1: px(rule.x), x2: px(rule.x), y1: top, y2: height - bottom}));
    svg.append(make("text", {x: (left + width - right) / 2, y: height - 6, "text-anchor": "middle"}, x.label),
               make("text", {transform: `translate(13 ${(top + height - bottom) / 2}) rotate(-90)`,
                             "text-anchor": "middle"}, y.label));
    for (const one of series) {
        if (one.line)
            svg.append(make("polyline", {class: `${one.column === undefined ? "ink" : "c" + one.column} line`,
                                         points: one.points.map(([a, b]) => `${px(a).toFixed(1)},${py(b).toFixed(1)}`).join(" ")}));
        if (one.marks)
            svg.append(...one.points.map(([a, b]) => markAt(one.column, px(a), py(b), one.marks)));
    }
    return svg;
}

// ---- one cell

const present = (cell, key) => D.columns.map((_, i) => i).filter(i => cell.samples[i]?.[key]);

function samplesChart(cell, key) {
    const measure = measureOf(key);
    const series = present(cell, key).map(column => ({column, line: true, marks: 3.5,
        points: cell.samples[column][key].map((value, i) => [cell.samples[column].at[i], value])}));
    return chart({x: {label: "block, its processes in the order they ran", show: String,
                      ticks: [...new Set(series.flatMap(one => one.points.map(point => Math.floor(point[0]))))]},
                  y: {label: measure.short, show: value => show(value, measure.unit), left: 84}, series});
}

function spreadChart(cell, key) {
    const measure = measureOf(key), columns = present(cell, key), places = columns.length;
    const series = columns.map((column, i) => ({column, marks: 4,
        points: cell.samples[column][key].map(value => [value, places - i])}));
    const medians = columns.map((column, i) => ({line: true, points: [-0.3, 0.3].map(
        off => [medianOf(cell.samples[column][key]), places - i + off])}));
    return chart({height: 70 + 26 * places, x: {label: `${measure.short}; the bar is the median`,
                      show: value => show(value, measure.unit)},
                  y: {label: "", left: 16 + 7.2 * Math.max(...columns.map(i => D.columns[i].name.length)),
                      values: [0.4, places + 0.6], tight: true, ticks: columns.map((_, i) => places - i),
                      show: place => D.columns[columns[places - place]].name},
                  series: [...series, ...medians]});
}

function timeChart(cell) {
    const columns = D.columns.map((_, i) => i).filter(i => cell.timeline[i]);
    const series = columns.flatMap(column => {
        const points = cell.timeline[column].map(([at, , rss]) => [at, rss]), step = Math.ceil(points.length / 8);
        return [{column, line: true, points}, {column, marks: 3.5, points: points.filter((_, i) => i % step === column % step)}];
    });
    if (cell.timeline[columns[0]].some(([, live]) => live)) // of a server it is not known
        series.push({line: true, points: cell.timeline[columns[0]].map(([at, live]) => [at, live])});
    return chart({x: {label: "seconds since the work began; the dotted line is what the program holds", show: digitsShort, zero: true, tight: true},
                  y: {label: "resident, MiB", show: digitsShort, zero: true}, series});
}

const digitsShort = value => String(+value.toPrecision(3));

function latencyChart(cell, call) {
    const points = ["p50", "p99", "p99.9", "max"], at = call === "malloc" ? 0 : 4;
    const series = D.columns.map((_, column) => column).filter(column => cell.latency_ns[column]).map(column => ({
        column, line: true, marks: 4, points: points.map((_, i) => [i, cell.latency_ns[column][at + i]])}));
    return chart({x: {label: `${call}: share of the calls`, show: i => points[i], ticks: [0, 1, 2, 3]},
                  y: {label: "time, the clock's own included", log: true, show: value => showSeconds(value / 1e9), left: 84}, series});
}

// What the load of a server told: a row a command, a column an allocator, as the other reports have it.
function loadTable(head, rows) {
    const shown = [0, ...columnsShown().map(column => column + 1)];
    const line = (words, kind) => make("tr", {}, ...shown.map(i => i ? make(kind, {}, words[i]) : make("th", {scope: "row"}, words[0])));
    return make("div", {class: "scroll"}, make("table", {class: "load"}, make("thead", {}, line(head, "th")),
        make("tbody", {}, ...rows.map(row => line(row, "td")))));
}

function cellTable(cell) {
    const ref = indexOf(state.ref), measures = D.measures.filter(measure => present(cell, measure.key).length);
    const body = columnsShown().map(column => {
        const head = make("th", {scope: "row"}, swatch(column), D.columns[column].name);
        if (cell.failures[column])
            return make("tr", {}, head, make("td", {class: "failed", colspan: 2 * measures.length}, cell.failures[column]));
        return make("tr", {}, head, ...measures.flatMap(({key, unit}) => {
            const value = figure(cell, column, key), found = column !== ref && ratio(cell, column, ref, key);
            return [make("td", {}, value === null ? "–" : show(value, unit)),
                    make("td", {}, column === ref ? "1.00×" : found ? sign(found) + showTimes(found.median) + span(found) : "–")];
        }));
    });
    return make("div", {class: "scroll"}, make("table", {},
        make("thead", {}, make("tr", {}, make("th", {}, "allocator"), ...measures.flatMap(({short}) =>
            [make("th", {}, short), make("th", {}, `vs ${state.ref} [95 %]`)]))), make("tbody", {}, ...body)));
}

function cellView(cell) {
    const key = present(cell, state.m).length ? state.m : "speed", measure = measureOf(key);
    const columns = present(cell, key), close = make("button", {type: "button", class: "close"}, "close");
    close.onclick = () => $("cell").close();
    const parts = [make("header", {}, make("h2", {}, ...breakable(cell.name)), close),
                   make("p", {}, cell.about), make("p", {class: "soft"}, cell.notes.join("; ")), cellTable(cell),
                   ...cell.load ? [loadTable(...cell.load)] : [], ...cell.lines.map(line => make("p", {class: "soft"}, line))];
    if (!columns.length)
        return parts;
    const drawn = [[`${measure.title}: samples in run order`, samplesChart(cell, key)],
                   [`${measure.title}: distribution`, spreadChart(cell, key)]];
    if (cell.timeline.some(Boolean))
        drawn.push(["Resident memory over time, first run", timeChart(cell)]);
    if (cell.latency_ns.some(Boolean))
        drawn.push(["Latency of malloc", latencyChart(cell, "malloc")], ["Latency of free", latencyChart(cell, "free")]);
    return [...parts, legend(columns), make("div", {class: "grid2"}, ...drawn.map(([title, svg]) =>
        make("figure", {}, make("figcaption", {}, title), svg)))];
}

// ---- overviews

function plainSize(x) {
    for (const unit of [" B", "K", "M", "G"]) {
        if (x < 1024)
            return digitsShort(x) + unit;
        x /= 1024;
    }
    return digitsShort(x) + "T";
}

function familyChart({label, sizes, points, cores}) {
    const series = columnsShown().map(column => ({column, line: true, marks: 4, points: points
        .map(([at, cell]) => [at, figure(D.cells[cell], column, "speed")]).filter(point => point[1])
        .map(([at, speed]) => [at, sizes ? 1 / speed : speed])})).filter(one => one.points.length);
    return chart({x: {label, log: true, ticks: points.map(point => point[0]).filter((_, i) => i % Math.ceil(points.length / 8) === 0),
                      show: sizes ? plainSize : String},
                  y: {label: sizes ? "time of an operation" : "operations", log: sizes, zero: !sizes, left: 84,
                      show: sizes ? showSeconds : showRate}, series, rules: cores ? [{x: cores}] : []});
}

function paretoChart(workload) {
    const cells = D.cells.filter(cell => cell.workload === workload), series = [];
    for (const column of columnsShown()) {
        const speed = meanOf(cells, column, "speed").median;
        const memory = (meanOf(cells, column, "above").median || meanOf(cells, column, "peak").median);
        if (speed && memory)
            series.push({column, marks: 6, points: [[memory, speed]]});
    }
    const values = at => [1, ...series.map(one => one.points[0][at])];
    return series.length && chart({
        x: {label: `memory relative to ${state.ref}`, log: true, show: showTimes, values: values(0)},
        y: {label: `speed relative to ${state.ref}`, log: true, show: showTimes, values: values(1)},
        series, rules: [{x: 1}, {y: 1}]});
}

function drawCharts(place) {
    const drawn = place.dataset.kind === "pareto"
        ? [...new Set(D.cells.map(cell => cell.workload))].map(workload => [workload, paretoChart(workload)])
        : D.families.filter(family => family.kind === place.dataset.kind).map(family => [family.title, familyChart(family)]);
    place.querySelector("div").replaceChildren(legend(columnsShown()), make("div", {class: "grid2"},
        ...drawn.filter(pair => pair[1]).map(([title, svg]) => make("figure", {}, make("figcaption", {}, title), svg))));
}
