// A chart a workload over the runs of one system. charts.js has drawn the rest.
"use strict";

const columnOf = name => D.columns.findIndex(column => column.name === name);
const times = value => `${value.toFixed(2)}×`;

// The runs that any chart of the system has, in time order: the same places in every chart.
function runsOf(measure, system) {
    const seen = new Set(measure.charts.filter(one => one.system === system)
        .flatMap(one => one.series.flatMap(line => line.points.map(point => point[0]))));
    return D.runs.filter(run => seen.has(run.run));
}

function say([run, median, low, high, version, changed], name) {
    const span = low === null ? ", too few rounds for an interval" : ` [${low.toFixed(2)}–${high.toFixed(2)}]`;
    const moved = changed ? `; ${times(changed[0])} [${changed[1].toFixed(2)}–${changed[2].toFixed(2)}] of the run before` : "";
    return `${name} (${version}), ${run}: ${times(median)}${span}${moved}`;
}

function drawing(one, runs) {
    const place = new Map(runs.map((run, i) => [run.run, i]));
    const values = one.series.flatMap(line => line.points.flatMap(point => [point[1], point[2] ?? point[1], point[3] ?? point[1]]));
    const many = D.columns.length;
    const series = one.series.flatMap(line => {
        const column = columnOf(line.allocator), aside = (column - (many - 1) / 2) * 0.5 / many;
        const at = point => place.get(point[0]) + aside;
        return [{column, line: true, marks: 4, points: line.points.map(point => [at(point), point[1]])},
                ...line.points.filter(point => point[2] !== null).map(point => (
                    {column, line: true, points: [[at(point), point[2]], [at(point), point[3]]]}))];
    });
    const svg = chart({
        x: {label: "runs in time order", tight: true, values: [-0.6, runs.length - 0.4], ticks: runs.map((_, i) => i),
            show: i => runs.length > 6 && i % Math.ceil(runs.length / 6) ? "" : runs[i].started.slice(5, 10)},
        y: {label: "relative to glibc", log: true, values: [...values, 1], show: value => `${Number(value.toPrecision(2))}×`},
        series, rules: [{y: 1}]});
    // Behind each mark its words, around a changed one a ring.
    const marks = [...svg.querySelectorAll(".mark")], points = one.series.flatMap(line => line.points.map(point => [line, point]));
    marks.forEach((mark, i) => {
        const [line, point] = points[i];
        mark.append(make("title", {}, say(point, line.allocator)));
        if (point[5]) {
            const ring = mark.cloneNode(false);
            ring.setAttribute("class", "changed");
            ring.setAttribute("transform", grown(mark.getAttribute("d"), 2.1));
            mark.before(ring);
        }
    });
    return make("figure", {}, make("figcaption", {}, one.workload), svg);
}

// The transform that makes a path larger about its middle.
function grown(path, factor) {
    const numbers = path.match(/-?[\d.]+/g).map(Number);
    const middle = which => { const mine = numbers.filter((_, i) => i % 2 === which); return (Math.min(...mine) + Math.max(...mine)) / 2; };
    const [x, y] = [middle(0), middle(1)];
    return `translate(${(x * (1 - factor)).toFixed(2)} ${(y * (1 - factor)).toFixed(2)}) scale(${factor})`;
}

function draw() {
    const measure = D.measures.find(one => one.key === $("measure").value), system = $("system").value;
    const charts = measure.charts.filter(one => one.system === system), runs = runsOf(measure, system);
    const used = new Set(charts.flatMap(one => one.series.map(line => columnOf(line.allocator))));
    $("about").textContent = `${measure.title}; ${measure.about}.`;
    $("legend").replaceChildren(legend([...used].sort((a, b) => a - b)));
    $("drawn").replaceChildren(...charts.map(one => drawing(one, runs)));
    if (!charts.length)
        $("drawn").append("No run of this system has that measure.");
    history.replaceState(null, "", `#m=${measure.key}&system=${encodeURIComponent(system)}`);
}

function choices(name, pairs) {
    $(name).append(...pairs.map(([value, text]) => make("option", {value}, text)));
    $(name).onchange = draw;
}

choices("system", D.systems.map(system => [system, system]));
choices("measure", D.measures.map(measure => [measure.key, measure.title]));
const asked = new URLSearchParams(location.hash.slice(1));
if (D.systems.includes(asked.get("system")))
    $("system").value = asked.get("system");
if (D.measures.some(measure => measure.key === asked.get("m")))
    $("measure").value = asked.get("m");
draw();
addEventListener("resize", draw);
