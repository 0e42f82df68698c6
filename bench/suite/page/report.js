// The page's state, its table and its permalink. Charts: charts.js, before this.
//
// What a ratio and its interval are is the suite's definition (stats.py), done here again so
// that any column may be the reference: medians of ratios within blocks, the bootstrap's law
// of the median, tails widened for few blocks (D.cut: the share to cut for each number of them).
"use strict";

const state = {};
const initial = {m: "speed", ref: D.columns[D.reference].name, show: "ratio", hide: [], without: [],
                 threads: [], sort: "", cell: ""};

const indexOf = name => D.columns.findIndex(column => column.name === name);
const measureOf = key => D.measures.find(measure => measure.key === key);
const threadsOf = cell => cell.threads === null ? "–" : String(cell.threads);

// ---- figures

function medianOf(values) {
    const sorted = [...values].sort((a, b) => a - b), n = sorted.length;
    return (sorted[Math.floor((n - 1) / 2)] + sorted[Math.floor(n / 2)]) / 2;
}

function choose(n, k) {
    let found = 1;
    for (let i = 1; i <= k; i++)
        found *= (n - k + i) / i;
    return found;
}

const laws = {};

// [[i, j, chance]], as stats.median_law
function medianLaw(n) {
    if (laws[n])
        return laws[n];
    const middle = Math.floor((n + 1) / 2), law = [];
    const atMost = i => {
        let sum = 0;
        for (let k = middle; k <= n; k++)
            sum += choose(n, k) * (i / n) ** k * ((n - i) / n) ** (n - k);
        return sum;
    };
    for (let i = 0; i < n; i++) {
        let here = atMost(i + 1) - atMost(i);
        for (let j = i + 1; n % 2 === 0 && j < n; j++) {
            const chance = choose(n, middle) * (((i + 1) / n) ** middle - (i / n) ** middle)
                * (((n - j) / n) ** middle - ((n - j - 1) / n) ** middle);
            law.push([i, j, chance]);
            here -= chance;
        }
        law.push([i, i, here]);
    }
    return laws[n] = law;
}

function interval(logs) {
    const sorted = [...logs].sort((a, b) => a - b), cut = D.cut[logs.length];
    const medians = medianLaw(logs.length).map(([i, j, chance]) => [(sorted[i] + sorted[j]) / 2, chance])
        .sort((a, b) => a[0] - b[0]);
    const end = ordered => {
        let seen = 0;
        for (const [median, chance] of ordered)
            if ((seen += chance) >= cut)
                return median;
        return ordered[ordered.length - 1][0];
    };
    return [end(medians), end(medians.reverse())];
}

const known = new Map();

// {median, low, high, verdict} of column a to column b, or null where a block with both is lacking.
function ratio(cell, a, b, key) {
    const name = [cell.name, a, b, key].join("\n");
    if (!known.has(name))
        known.set(name, findRatio(cell.samples[a], cell.samples[b], key));
    return known.get(name);
}

function findRatio(mine, other, key) {
    if (!mine || !other || !mine[key] || !other[key])
        return null;
    const logs = [];
    mine.round.forEach((round, i) => {
        const at = other.round.indexOf(round);
        if (at >= 0)
            logs.push(Math.log(mine[key][i] / other[key][at]));
    });
    if (!logs.length)
        return null;
    const median = Math.exp(medianOf(logs));
    if (logs.length < D.fewest)
        return {median, low: null, high: null, verdict: "few"};
    const [low, high] = interval(logs).map(Math.exp);
    const none = low <= 1 && 1 <= high || median.toFixed(2) === "1.00";
    return {median, low, high, verdict: none ? "none" : low > 1 ? "above" : "below"};
}

// The reference's median times the ratio, so that the two agree.
function figure(cell, column, key) {
    const ref = indexOf(state.ref), own = cell.samples[column], base = cell.samples[ref];
    if (!own || !own[key])
        return null;
    const found = column !== ref && ratio(cell, column, ref, key);
    return found ? medianOf(base[key]) * found.median : medianOf(own[key]);
}

function show(value, unit) {
    return {rate: showRate, bytes: showSize, seconds: showSeconds, held: v => digits(v) + " MiB·s"}[unit](value);
}

function sign(found) {
    return {few: "? ", none: "≈ "}[found.verdict] || "";
}

function span(found) {
    return found.low === null ? "" : ` [${found.low.toFixed(2)}–${found.high.toFixed(2)}]`;
}

// Geometric mean over cells of a workload: {median, count, sure: one of them differs for sure} or {failed}.
function meanOf(cells, column, key) {
    const ref = indexOf(state.ref);
    const failed = cells.filter(cell => cell.failures[column] || cell.failures[ref]).length;
    if (failed)
        return {failed};
    const found = cells.filter(cell => !cell.latency && !(key === "speed" && cell.dominated))
        .map(cell => column === ref ? cell.samples[ref]?.[key] && {median: 1} : ratio(cell, column, ref, key))
        .filter(Boolean);
    const logs = found.map(one => Math.log(one.median));
    return logs.length ? {median: Math.exp(logs.reduce((a, b) => a + b) / logs.length), count: logs.length,
                          sure: found.some(one => ["above", "below"].includes(one.verdict))} : {};
}

// ---- the table

function heat(median, better) {
    const strength = Math.log2(median) * (better ? 1 : -1);
    const alpha = Math.min(1, Math.abs(strength) / 2) * 0.5 + 0.06;
    const colour = `rgb(${strength > 0 ? "35 110 200" : "225 110 10"} / ${alpha.toFixed(2)})`;
    return `background-image: linear-gradient(${colour}, ${colour})`; // over a colour that hides what is scrolled
}

function columnsShown() {
    const ref = indexOf(state.ref), names = D.columns.map((_, i) => i);
    return [D.pinned, ...names.filter(i => i !== D.pinned)]
        .filter(i => i === ref || !state.hide.includes(D.columns[i].name));
}

function cellsShown() {
    return D.cells.filter(cell => !state.without.includes(cell.workload)
        && (!state.threads.length || state.threads.includes(threadsOf(cell))));
}

function breakable(name) {
    return name.split("/").flatMap((part, i) => i ? ["/", make("wbr"), part] : [part]);
}

function ratioCell(cell, column) {
    const measure = measureOf(state.m), ref = indexOf(state.ref);
    if (cell.failures[column])
        return make("td", {class: "failed", title: cell.failures[column]}, open(cell, column, "failed"));
    const value = figure(cell, column, state.m);
    if (value === null)
        return make("td", {}, "–");
    const found = column !== ref && ratio(cell, column, ref, state.m);
    const words = state.show === "figure" ? show(value, measure.unit)
        : column === ref ? "1.00×" : found ? sign(found) + showTimes(found.median) : "–";
    const sure = found && ["above", "below"].includes(found.verdict);
    return make("td", {style: sure ? heat(found.median, measure.more) : null,
                       title: `${show(value, measure.unit)}${found ? ", " + showTimes(found.median) + span(found) : ""}`},
                open(cell, column, words));
}

function open(cell, column, words) {
    return make("button", {type: "button", class: "open", "data-cell": cell.name, "data-column": column}, words);
}

function groupRow(workload, cells, columns) {
    const better = measureOf(state.m).more;
    const of = columns.map(column => meanOf(cells, column, state.m));
    const count = Math.max(0, ...of.map(mean => mean.count || 0));
    return make("tr", {class: "group"},
        make("th", {scope: "row"}, make("a", {href: `#word-${workload}`}, workload),
             make("small", {}, count ? ` mean of ${count}` : "")),
        ...of.map((mean, i) => mean.failed
            ? make("td", {class: "failed"}, `failed ${mean.failed}`)
            : make("td", {style: mean.sure ? heat(mean.median, better) : null},
                   mean.median ? showTimes(mean.median) : "–")));
}

function cellRow(cell, columns) {
    return make("tr", {}, make("th", {scope: "row", title: cell.notes.join("; ")}, ...breakable(cell.name),
                               cell.crowded ? make("abbr", {title: "more threads than cores"}, " ⁺") : "",
                               cell.dominated ? make("abbr", {title: "more harness than allocator"}, " ʰ") : ""),
                ...columns.map(column => ratioCell(cell, column)));
}

function sortedCells(cells) {
    const [name, way] = state.sort.split(":"), column = indexOf(name), ref = indexOf(state.ref);
    const value = cell => {
        const found = column === ref ? null : ratio(cell, column, ref, state.m);
        return column === ref ? figure(cell, ref, state.m) : found && found.median;
    };
    return cells.map(cell => [cell, value(cell)])
        .sort((a, b) => (a[1] === null) - (b[1] === null) || (way === "up" ? a[1] - b[1] : b[1] - a[1]))
        .map(pair => pair[0]);
}

function headCell(column) {
    const {name} = D.columns[column], [sorted, way] = state.sort.split(":");
    const arrow = sorted === name ? (way === "up" ? " ↑" : " ↓") : "";
    const order = arrow ? (way === "up" ? "ascending" : "descending") : "none";
    return make("th", {scope: "col", "aria-sort": order}, make("button", {
        type: "button", class: "sort", "data-column": name, title: "sort: down, up, not"}, swatch(column), name + arrow));
}

function renderTable() {
    const columns = columnsShown(), cells = cellsShown(), measure = measureOf(state.m);
    const able = cells.filter(cell => cell.failures.some(Boolean) || cell.samples.some(s => s && s[state.m]));
    const rows = state.sort ? sortedCells(able).map(cell => cellRow(cell, columns))
        : [...new Set(able.map(cell => cell.workload))].flatMap(workload => {
            const mine = able.filter(cell => cell.workload === workload);
            return [groupRow(workload, mine, columns), ...mine.map(cell => cellRow(cell, columns))];
        });
    $("table").replaceChildren(make("thead", {}, make("tr", {}, make("th", {}, "cell"), ...columns.map(headCell))),
                               make("tbody", {}, ...rows));
    $("said").textContent = `${measure.title}${state.show === "ratio" ? `, relative to ${state.ref}` : ""}: ${able.length} `
        + `of ${D.cells.length} cells. ${measure.more ? "More" : "Less"} is better: blue; the other way: orange.`;
}

// ---- controls and the permalink

function boxes(place, key, names, hidden) {
    $(place).replaceChildren(...names.map(name => {
        const on = hidden ? !state[key].includes(name) : !state[key].length || state[key].includes(name);
        const box = make("input", {type: "checkbox", value: name, checked: on ? "" : null});
        box.onchange = () => {
            const ticked = [...$(place).querySelectorAll("input")].filter(input => input.checked).map(input => input.value);
            const rest = names.filter(other => !ticked.includes(other));
            go({[key]: hidden ? rest : rest.length ? ticked : []});
        };
        const column = place === "columns" ? indexOf(name) : -1;
        return make("label", {}, box, column >= 0 ? swatch(column) : "", " " + name);
    }));
}

function options(place, key, pairs) {
    const select = $(place);
    select.replaceChildren(...pairs.map(([value, words]) =>
        make("option", {value, selected: state[key] === value ? "" : null}, words)));
    select.value = state[key];
    select.onchange = () => go({[key]: select.value});
}

function renderControls() {
    options("measure", "m", D.measures.map(measure => [measure.key, measure.title]));
    options("reference", "ref", D.columns.map(column => [column.name, column.name]));
    options("show", "show", [["ratio", "ratios"], ["figure", "figures"]]);
    boxes("columns", "hide", D.columns.map(column => column.name), true);
    boxes("workloads", "without", [...new Set(D.cells.map(cell => cell.workload))], true);
    const counts = [...new Set(D.cells.map(threadsOf))].sort((a, b) => (parseInt(a) || 0) - (parseInt(b) || 0));
    boxes("threads", "threads", counts, false);
}

function link() {
    const parts = Object.keys(initial).filter(key => String(state[key]) !== String(initial[key]))
        .map(key => `${key}=${[].concat(state[key]).map(encodeURIComponent).join(",")}`);
    return "#" + (parts.join("&") || "explore");
}

function read(hash) {
    Object.assign(state, initial);
    for (const part of hash.slice(1).split("&")) {
        const [key, text] = part.split("=");
        if (text === undefined || !(key in initial))
            continue;
        const words = text.split(",").filter(Boolean).map(decodeURIComponent);
        state[key] = Array.isArray(initial[key]) ? words : words.join(",");
    }
    if (!measureOf(state.m))
        state.m = initial.m;
    if (indexOf(state.ref) < 0)
        state.ref = initial.ref;
    if (indexOf(state.sort.split(":")[0]) < 0)
        state.sort = "";
    if (!D.cells.some(cell => cell.name === state.cell))
        state.cell = "";
}

function go(change) {
    Object.assign(state, change);
    history.replaceState(null, "", link());
    render();
}

function render() {
    renderControls();
    renderTable();
    const dialog = $("cell"), cell = D.cells.find(one => one.name === state.cell);
    if (cell) {
        dialog.replaceChildren(...cellView(cell));
        if (!dialog.open)
            dialog.showModal();
        dialog.scrollTop = 0;
    } else if (dialog.open)
        dialog.close();
    document.querySelectorAll("details.charts[open]").forEach(drawCharts);
}

document.addEventListener("click", event => {
    const at = event.target.closest("button");
    if (at?.classList.contains("open"))
        go({cell: at.dataset.cell});
    else if (at?.classList.contains("sort")) {
        const next = {[`${at.dataset.column}:down`]: `${at.dataset.column}:up`, [`${at.dataset.column}:up`]: ""};
        go({sort: next[state.sort] ?? `${at.dataset.column}:down`});
    } else if (at?.id === "reset")
        go({...initial});
});
$("cell").addEventListener("close", () => state.cell && go({cell: ""}));
$("cell").addEventListener("click", event => event.target === $("cell") && $("cell").close());
document.querySelectorAll("details.charts").forEach(place =>
    place.addEventListener("toggle", () => place.open && drawCharts(place)));
window.addEventListener("beforeprint", () => document.querySelectorAll("details").forEach(one => { one.open = true; }));
window.addEventListener("hashchange", () => {
    if (location.hash.includes("=")) {
        read(location.hash);
        render();
    }
});
read(location.hash);
render();
if (location.hash.includes("="))
    $("explore").scrollIntoView();
