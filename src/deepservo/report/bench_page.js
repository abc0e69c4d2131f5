// Draws the page of a benchmark from its data: tables, rates, errors, paths and cost landscapes.
"use strict";
const METHODS = [...new Set(D.pooled.map((r) => r.method))];
const HUES = [
  "#0b6fb8",
  "#c25e00",
  "#08765a",
  "#bf2f26",
  "#7a4fc0",
  "#8a6d00",
  "#c2407f",
  "#4f6b7a",
  "#3f8f2f",
  "#a0522d",
];
const colour = (method) => HUES[METHODS.indexOf(method) % HUES.length];
const name = (r) => (r.part ? `${r.set}, ${r.part}` : r.set);

// --- conditions down, methods across ---
function winCell(method, r, most) {
  if (!r) return cell(method, ["–"]);
  const share = Math.round(55 * r.converged ** 2),
    background = `color-mix(in srgb, var(--good) ${share}%, transparent)`;
  const contents = [
    make("b", null, num(100 * r.converged)),
    small(interval(r.converged_ci) + (r.n < most ? `, of ${r.n} only` : "")),
    small(r.end_mm_median == null ? "none converged" : num(r.end_mm_median, 2) + "\u00a0mm"),
  ];
  return cell(method, contents, { class: "cell", style: `background: ${background}` });
}
function wins() {
  const rows = [...new Set(D.pooled.map(name))].map((label) => {
    const mine = D.pooled.filter((r) => name(r) == label),
      most = Math.max(...mine.map((r) => r.n)); // a method runs on the scenes that it has learned
    const of = (method) => mine.find((r) => r.method == method);
    return [cell("Set", [label]), ...METHODS.map((m) => winCell(m, of(m), most))];
  });
  const titles = ["Set", ...METHODS].map((title) => [title]);
  at("#wins .scroll").append(makeTable(titles, rows, { class: "map" }));
}

// --- every figure, the published ones beside them ---
const COLUMNS = [
  ["Set", (r) => [name(r)]],
  ["Method", (r) => [r.method]],
  ["Runs", (r) => [String(r.n)]],
  ["Converged", (r) => [percent(r.converged), small(interval(r.converged_ci))]],
  [
    "Published",
    (r) => [
      r.published[0] == "-" ? "–" : r.published[0] + "\u00a0%",
      r.published[1] == "-" ? "" : small(r.published[1] + "\u00a0mm"),
    ],
  ],
  ["Strictly", (r) => [percent(r.strict)]],
  ["End [mm]", (r) => [r.end_mm_median == null ? "–" : num(r.end_mm_median, 2)]],
  ["End [deg]", (r) => [r.end_deg_median == null ? "–" : num(r.end_deg_median, 2)]],
  ["Path", (r) => [r.length_ratio == null ? "–" : r.length_ratio.toFixed(2) + "\u00a0×"]],
  ["Steps", (r) => [r.steps_median == null ? "–" : num(r.steps_median)]],
  ["A step [ms]", (r) => [num(r.ms_per_step_p50)]],
];
function table() {
  const rows = D.pooled.map((r) => COLUMNS.map(([title, contents]) => cell(title, contents(r))));
  const titles = COLUMNS.map(([title]) => [title]);
  at("#table .scroll").append(makeTable(titles, rows));
}

function pairs() {
  const titles = ["Set", "One", "Other", "Converged by the one alone", "By the other alone", "p"];
  const rows = D.pairs.map((each) => each.map((text, i) => cell(titles[i], [String(text)])));
  const heads = titles.map((title) => [title]);
  at("#pairs .scroll").append(makeTable(heads, rows));
}

// --- one part of a set ---
const legend = {
  showlegend: true,
  legend: { orientation: "h", x: 0, y: 1.02, yanchor: "bottom" },
  margin: { l: 8, r: 8, t: 44, b: 8 },
};
function rates(group) {
  const [one, left] = plotBox("By the distance at the start"),
    [two, right] = plotBox("By the share of the goal that the start sees");
  at("#rates .plots").replaceChildren(one, two);
  const lines = (key, scale) =>
    Object.entries(group.methods).map(([method, m]) => ({
      x: m[key].map((b) => scale * b[0]),
      y: m[key].map((b) => 100 * b[1]),
      mode: "lines+markers",
      name: method,
      line: { color: colour(method), width: 2 },
      error_y: {
        type: "data",
        symmetric: false,
        array: m[key].map((b) => 100 * (b[3] - b[1])),
        arrayminus: m[key].map((b) => 100 * (b[1] - b[2])),
        thickness: 1,
        width: 3,
        color: colour(method),
      },
      text: m[key].map((b) => `${b[4]} runs`),
      hovertemplate: "%{y:.0f} %, %{text}<extra>%{fullData.name}</extra>",
    }));
  const converged = { title: { text: "converged [%]", standoff: 4 }, range: [-4, 104] };
  return [
    () =>
      plot(left, lines("by_distance", 0.1), {
        ...legend,
        xaxis: { title: { text: "distance [cm]" }, rangemode: "tozero" },
        yaxis: converged,
      }),
    () =>
      plot(right, lines("by_share", 100), {
        ...legend,
        xaxis: { title: { text: "share of the goal seen [%]" }, range: [0, 100] },
        yaxis: converged,
      }),
  ];
}
function errors(group) {
  const [one, left] = plotBox("Share of the runs by their end distance"),
    [two, right] = plotBox("Median distance at each step");
  at("#errors .plots").replaceChildren(one, two);
  const cumulative = Object.entries(group.methods).map(([method, m]) => {
    const sorted = [...m.end_mm].sort((a, b) => a - b);
    return {
      x: sorted.map((e) => Math.max(e, 1e-5)),
      y: sorted.map((_, i) => (100 * (i + 1)) / sorted.length),
      mode: "lines",
      name: method,
      line: { color: colour(method), width: 2, shape: "hv" },
      hovertemplate: "%{y:.0f} % within %{x:.3g} mm<extra>%{fullData.name}</extra>",
    };
  });
  const curves = Object.entries(group.methods).map(([method, m]) => ({
    x: m.curve.step,
    y: m.curve.median.map((v) => v || null),
    mode: "lines",
    name: method,
    line: { color: colour(method), width: 2 },
    hovertemplate: "step %{x}: %{y:.3g} mm<extra>%{fullData.name}</extra>",
  }));
  return [
    () =>
      plot(left, cumulative, {
        ...legend,
        xaxis: log("mm"),
        yaxis: { title: { text: "runs [%]", standoff: 4 }, range: [0, 102] },
      }),
    () =>
      plot(right, curves, {
        ...legend,
        xaxis: { title: { text: "step", standoff: 4 }, rangemode: "tozero" },
        yaxis: log("mm"),
      }),
  ];
}
/** Where the starts lie beside the goal, those that converged or those that did not. */
function startTrace(m, good) {
  const mine = m.converged.map((_, i) => i).filter((i) => m.converged[i] == good);
  const text = (i) =>
    `${num(m.start_mm[i])} mm, ${num(m.start_deg[i])} deg<br>ended at ${num(m.end_mm[i])} mm`;
  return {
    x: mine.map((i) => m.x[i]),
    y: mine.map((i) => m.y[i]),
    mode: "markers",
    name: good ? "converged" : "not converged",
    marker: good
      ? { size: 8, color: style("good") }
      : { size: 9, symbol: "x", color: style("bad") },
    text: mine.map(text),
    hovertemplate: "%{text}<extra></extra>",
  };
}
function pathTrace(m, good) {
  const points = m.paths
    .filter((_, j) => m.converged[m.drawn[j]] == good)
    .flatMap((path) => [...path, [null, null, null]]);
  return {
    type: "scatter3d",
    mode: "lines",
    x: points.map((p) => p[0]),
    y: points.map((p) => (p[1] == null ? null : -p[1])),
    z: points.map((p) => (p[2] == null ? null : -p[2])),
    name: good ? "converged" : "not converged",
    hoverinfo: "skip",
    line: { width: 3, color: style(good ? "good" : "bad") },
  };
}
function basin(group) {
  const m = group.methods[at("#method").value] || Object.values(group.methods)[0];
  const [one, left] = plotBox("Position of the start beside the goal"),
    [two, right] = plotBox("Paths, from the goal's camera");
  at("#basin .plots").replaceChildren(one, two);
  const beside = {
    xaxis: { title: { text: "right of the goal [mm]" } },
    yaxis: { title: { text: "below the goal [mm]" }, autorange: "reversed", scaleanchor: "x" },
  };
  const scene = () => ({
    aspectmode: "data",
    camera: { eye: { x: 1.25, y: -2.15, z: 1.35 }, center: { x: 0, y: 0, z: -0.15 } },
    xaxis: axisInSpace("right [m]"),
    yaxis: axisInSpace("up [m]"),
    zaxis: axisInSpace("behind [m]"),
  });
  const both = (trace) => [trace(m, true), trace(m, false)];
  return [
    () => plot(left, both(startTrace), { ...legend, ...beside }),
    () => plot(right, both(pathTrace), { ...legend, scene: scene() }),
  ];
}
function drawLandscape(box, cost, a, b) {
  const ticks = (axis) =>
    cost.map((_, i) => {
      const v = ((2 * i) / (cost.length - 1) - 1) * axis.reach;
      return axis.name[0] == "r" ? (v * 180) / Math.PI : 100 * v;
    });
  const title = (axis) =>
    axis.name[0] == "r" ? `about ${axis.name[1]} [deg]` : `along ${axis.name} [cm]`;
  const contour = {
    type: "contour",
    z: cost,
    x: ticks(a),
    y: ticks(b),
    colorscale: "Viridis",
    ncontours: 16,
    contours: { coloring: "heatmap" },
    line: { width: 0.6 },
    zmin: 0,
    zmax: 1,
    showscale: false,
    hovertemplate: "%{z:.3f}<extra></extra>",
  };
  const layout = { xaxis: { title: { text: title(a) } }, yaxis: { title: { text: title(b) } } };
  return plot(box, [contour], layout);
}
function landscape() {
  const pair = at("#axes").value,
    [a, b] = pair.split(" ").map((n) => D.axes.find((axis) => axis.name == n)),
    boxes = [],
    jobs = [];
  for (const [method, all] of Object.entries(D.landscapes[at("#scene").value] || {})) {
    const [figure, box] = plotBox(method);
    boxes.push(figure);
    jobs.push(() => drawLandscape(box, all[pair], a, b));
  }
  at("#landscape .plots").replaceChildren(...boxes);
  return jobs;
}

const group = () => D.groups[+at("#pick").value || 0];
const everything = () =>
  drawAll([...rates(group()), ...errors(group()), ...basin(group()), ...landscape()]);
wins();
table();
pairs();
options(
  "#pick",
  D.groups.map((g, k) => [k, g.label]),
);
options(
  "#method",
  METHODS.map((m) => [m, m]),
);
const scenes = Object.keys(D.landscapes),
  axes = D.axes.map((a) => a.name);
options(
  "#scene",
  scenes.map((s) => [s, s]),
);
options(
  "#axes",
  axes.flatMap((a, i) => axes.slice(i + 1).map((b) => [`${a} ${b}`, `${a} and ${b}`])),
);
at("#table details").open = innerWidth > 720; // on a phone it would be many screens long
at("#landscape").hidden = !scenes.length;
at("#pairs").hidden = !D.pairs.length;
at(".pick").hidden = D.groups.length < 2;
at("#pick").onchange = everything;
at("#method").onchange = everything;
at("#scene").onchange = at("#axes").onchange = everything;
matchMedia("(prefers-color-scheme: dark)").addEventListener("change", everything);
