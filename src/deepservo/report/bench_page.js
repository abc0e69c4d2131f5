// Draws the page of a benchmark from the data in it: page.py puts this script and its data into bench_page.html.
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
const small = (text) => make("small", null, text);
const interval = (ci) => `${num(100 * ci[0])} to ${num(100 * ci[1])}`;

// --- conditions down, methods across ---
function wins() {
  const head = make(
    "tr",
    null,
    make("th", { scope: "col" }, "Set"),
    ...METHODS.map((m) => make("th", { scope: "col" }, m)),
  );
  const lines = [...new Set(D.pooled.map(name))].map((label) => {
    const most = Math.max(...D.pooled.filter((r) => name(r) == label).map((r) => r.n)); // a method runs on the scenes that it has learned
    const cells = METHODS.map((method) => {
      const r = D.pooled.find((r) => name(r) == label && r.method == method);
      if (!r) return make("td", { "data-name": method }, make("span", null, "–"));
      const shade = `background: color-mix(in srgb, var(--good) ${Math.round(55 * r.converged ** 2)}%, transparent)`;
      return make(
        "td",
        { class: "cell", "data-name": method, style: shade },
        make(
          "span",
          null,
          make("b", null, num(100 * r.converged)),
          small(interval(r.converged_ci) + (r.n < most ? `, of ${r.n} only` : "")),
          small(r.end_mm_median == null ? "none home" : num(r.end_mm_median, 2) + "\u00a0mm"),
        ),
      );
    });
    return make(
      "tr",
      null,
      make("td", { "data-name": "Set" }, make("span", null, label)),
      ...cells,
    );
  });
  at("#wins .scroll").append(
    make("table", { class: "map" }, make("thead", null, head), make("tbody", null, ...lines)),
  );
}

// --- every figure, the published ones beside them ---
const COLUMNS = [
  ["Set", (r) => [name(r)]],
  ["Method", (r) => [r.method]],
  ["Runs", (r) => [String(r.n)]],
  ["Came home", (r) => [percent(r.converged), small(interval(r.converged_ci))]],
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
  ["Calls [ms]", (r) => [num(r.ms_per_step_p50)]],
];
function table() {
  at("#table .scroll").append(
    make(
      "table",
      null,
      make(
        "thead",
        null,
        make("tr", null, ...COLUMNS.map(([title]) => make("th", { scope: "col" }, title))),
      ),
      make(
        "tbody",
        null,
        ...D.pooled.map((r) =>
          make(
            "tr",
            null,
            ...COLUMNS.map(([title, cell]) =>
              make("td", { "data-name": title }, make("span", null, ...cell(r))),
            ),
          ),
        ),
      ),
    ),
  );
}

function pairs() {
  const titles = ["Set", "One", "Other", "Home by the one alone", "By the other alone", "p"];
  at("#pairs .scroll").append(
    make(
      "table",
      null,
      make(
        "thead",
        null,
        make("tr", null, ...titles.map((title) => make("th", { scope: "col" }, title))),
      ),
      make(
        "tbody",
        null,
        ...D.pairs.map((each) =>
          make(
            "tr",
            null,
            ...each.map((text, i) =>
              make("td", { "data-name": titles[i] }, make("span", null, String(text))),
            ),
          ),
        ),
      ),
    ),
  );
}

// --- one part of a set ---
const legend = {
  showlegend: true,
  legend: { orientation: "h", x: 0, y: 1.02, yanchor: "bottom" },
  margin: { l: 8, r: 8, t: 44, b: 8 },
};
function rates(group) {
  const [one, left] = plotBox("By the distance at the start"),
    [two, right] = plotBox("By the share of the goal that is seen");
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
  const home = { title: { text: "home [%]", standoff: 4 }, range: [-4, 104] };
  return [
    () =>
      plot(left, lines("by_distance", 0.1), {
        ...legend,
        xaxis: { title: { text: "distance [cm]" }, rangemode: "tozero" },
        yaxis: home,
      }),
    () =>
      plot(right, lines("by_share", 100), {
        ...legend,
        xaxis: { title: { text: "seen of the goal [%]" }, range: [0, 100] },
        yaxis: home,
      }),
  ];
}
function errors(group) {
  const [one, left] = plotBox("Share of the runs that end nearer than"),
    [two, right] = plotBox("Median distance on the way");
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
function basin(group) {
  const m = group.methods[at("#method").value] || Object.values(group.methods)[0];
  const [one, left] = plotBox("Where they started, beside the goal"),
    [two, right] = plotBox("Paths, from the goal's camera");
  at("#basin .plots").replaceChildren(one, two);
  const all = m.home.map((_, i) => i),
    dots = (good, marker) => {
      const mine = all.filter((i) => m.home[i] == good);
      return {
        x: mine.map((i) => m.x[i]),
        y: mine.map((i) => m.y[i]),
        mode: "markers",
        name: good ? "home" : "not home",
        marker,
        text: mine.map(
          (i) =>
            `${num(m.start_mm[i])} mm, ${num(m.start_deg[i])} deg<br>ended at ${num(m.end_mm[i])} mm`,
        ),
        hovertemplate: "%{text}<extra></extra>",
      };
    };
  const paths = [true, false].map((good) => {
    const mine = m.paths
      .filter((_, j) => m.home[m.drawn[j]] == good)
      .flatMap((path) => [...path, [null, null, null]]);
    return {
      type: "scatter3d",
      mode: "lines",
      x: mine.map((p) => p[0]),
      y: mine.map((p) => (p[1] == null ? null : -p[1])),
      z: mine.map((p) => (p[2] == null ? null : -p[2])),
      name: good ? "home" : "not home",
      hoverinfo: "skip",
      line: { width: 3, color: style(good ? "good" : "bad") },
    };
  });
  const axis = (text) => ({
    title: { text },
    gridcolor: style("line"),
    linecolor: style("mute"),
    zeroline: false,
    showbackground: false,
    nticks: 5,
  });
  return [
    () =>
      plot(
        left,
        [
          dots(true, { size: 8, color: style("good") }),
          dots(false, { size: 9, symbol: "x", color: style("bad") }),
        ],
        {
          ...legend,
          xaxis: { title: { text: "right of the goal [mm]" } },
          yaxis: {
            title: { text: "below the goal [mm]" },
            autorange: "reversed",
            scaleanchor: "x",
          },
        },
      ),
    () =>
      plot(right, paths, {
        ...legend,
        scene: {
          aspectmode: "data",
          camera: { eye: { x: 1.1, y: -1.9, z: 1.2 } },
          xaxis: axis("right [m]"),
          yaxis: axis("up [m]"),
          zaxis: axis("behind [m]"),
        },
      }),
  ];
}
function landscape() {
  const scene = at("#scene").value,
    pair = at("#axes").value,
    found = D.landscapes[scene] || {};
  const boxes = [],
    jobs = [];
  for (const [method, all] of Object.entries(found)) {
    const [figure, box] = plotBox(method),
      [a, b] = pair.split(" ").map((n) => D.axes.find((axis) => axis.name == n));
    boxes.push(figure);
    const ticks = (axis) =>
      all[pair].map((_, i) => {
        const v = ((2 * i) / (all[pair].length - 1) - 1) * axis.reach;
        return axis.name[0] == "r" ? (v * 180) / Math.PI : 100 * v;
      });
    const unit = (axis) =>
      axis.name[0] == "r" ? `about ${axis.name[1]} [deg]` : `along ${axis.name} [cm]`;
    jobs.push(() =>
      plot(
        box,
        [
          {
            type: "contour",
            z: all[pair],
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
          },
        ],
        { xaxis: { title: { text: unit(a) } }, yaxis: { title: { text: unit(b) } } },
      ),
    );
  }
  at("#landscape .plots").replaceChildren(...boxes);
  return jobs;
}

let turn = 0;
async function run(jobs) {
  const mine = ++turn;
  // One plot at a time, with a breath between, so that the page can be read and scrolled meanwhile.
  for (const job of jobs) {
    await new Promise((done) => setTimeout(done));
    if (mine != turn) return;
    await job();
  }
  document.documentElement.dataset.drawn = "yes";
}
const options = (selector, values) =>
  at(selector).append(...values.map(([value, text]) => make("option", { value }, text)));
const group = () => D.groups[+at("#pick").value || 0];
const everything = () =>
  run([...rates(group()), ...errors(group()), ...basin(group()), ...landscape()]);
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
  first = D.axes.map((a) => a.name);
options(
  "#scene",
  scenes.map((s) => [s, s]),
);
options(
  "#axes",
  first.flatMap((a, i) => first.slice(i + 1).map((b) => [`${a} ${b}`, `${a} and ${b}`])),
);
at("#table details").open = innerWidth > 720; // on a phone it would be many screens
at("#landscape").hidden = !scenes.length;
at("#pairs").hidden = !D.pairs.length;
at(".pick").hidden = D.groups.length < 2;
at("#pick").onchange = everything;
at("#method").onchange = everything;
at("#scene").onchange = at("#axes").onchange = everything;
matchMedia("(prefers-color-scheme: dark)").addEventListener("change", everything);
