// Draws the page of a run from its data: the table, the settings, and all the other parts in turn.
"use strict";

// --- the table of results: rows on a desktop, cards on a phone ---
function mean(r, unit) {
  const average = r[`end_${unit}_mean`],
    spread = r[`end_${unit}_std`];
  if (average == null) return null;
  return `mean ${num(average, 2)}` + (spread == null ? "" : ` ±\u00a0${num(spread, 2)}`);
}
function convergedCell(r) {
  if (r.converged === undefined) return null;
  if (r.converged == null) return ["unknown", small("the goal's pose is not known")];
  return [percent(r.converged), small(r.converged_ci && interval(r.converged_ci))];
}
/** A cell that shows one figure of the row; none where the row lacks it. */
const shows = (key, text) => (r) => (r[key] == null ? null : [].concat(text(r[key], r)));
const COLUMNS = [
  ["Method", "", shows("method", String)],
  [
    "Set",
    "Set of starts, and the picture",
    (r) => (r.set == null && r.scene == null ? null : [r.set || "", small(r.scene)]),
  ],
  ["Runs", "", shows("n", String)],
  ["Converged", "Share of the runs, with its 95 % interval", convergedCell],
  [
    "Arrived",
    "Share of the runs that say so, within 1 mm and 0.1 deg or what was asked for",
    shows("arrived", (v, r) => [
      percent(v),
      small(r.false_arrivals ? `${r.false_arrivals} falsely` : null),
    ]),
  ],
  ["Strictly", "Share of the runs that ended under 1 mm and 0.1 deg", shows("strict", percent)],
  [
    "Settled",
    "Share of the runs whose last ten steps were all under 0.1 mm and 0.01 deg",
    shows("settled", percent),
  ],
  [
    "End [mm]",
    "Median of the runs that converged",
    shows("end_mm_median", (v, r) => [num(v, 2), small(mean(r, "mm"))]),
  ],
  [
    "End [deg]",
    "Median of the runs that converged",
    shows("end_deg_median", (v, r) => [num(v, 2), small(mean(r, "deg"))]),
  ],
  [
    "Path",
    "Length of the path; 1 is the straight line",
    shows("length_ratio", (v) => v.toFixed(2) + "\u00a0×"),
  ],
  [
    "Steps",
    "Median over the converged runs, until they stay converged",
    shows("steps_median", (v) => num(v)),
  ],
  [
    "A step [ms]",
    "Median, and 99th percentile",
    shows("ms_per_step_p50", (v, r) => [
      num(v),
      small(r.ms_per_step_p99 == null ? null : "p99 " + num(r.ms_per_step_p99)),
    ]),
  ],
];
function table() {
  at("#table").hidden = !D.rows.length;
  const used = COLUMNS.filter(([, , contents]) => D.rows.some(contents));
  const rows = D.rows.map((r) =>
    used.map(([title, , contents]) => cell(title, contents(r) || ["–"])),
  );
  at("#table .scroll").append(makeTable(used, rows));
}

// --- settings and training ---
const list = (pairs) =>
  make(
    "dl",
    null,
    ...pairs
      .filter(([, value]) => value !== "" && value != null)
      .flatMap(([name, value]) => [make("dt", null, name), make("dd", null, String(value))]),
  );
function settings(set) {
  const c = D.camera;
  const several = (key, unit = "") => {
    const values = [...new Set(D.rows.map((r) => r[key]).filter((v) => v != null))];
    return values.length ? values.join(", ") + unit : "";
  };
  const pairs = [
    ["Camera", `${c.width} × ${c.height} px, focal lengths ${num(c.fx)} and ${num(c.fy)} px`],
    ["Picture", `${num(D.scene.width)} × ${num(D.scene.height)} m ${D.scene.on}`],
    ["Gain", several("gain")],
    ["Time step", several("dt", " s")],
    ["Most steps", several("max_steps")],
    ["Seed", several("seed")],
    ["Runs", set.steps.length],
    ["Steps taken", set.steps.reduce((a, b) => a + b, 0)],
    ["Reasons for the end", set.reasons.map(([why, n]) => `${n} × ${why}`).join("; ")],
  ];
  return make("div", null, D.training && make("h3", null, "Settings"), list(pairs));
}
function drawLoss(box) {
  const { loss } = D.training;
  const line = {
    x: loss.map((p) => p[0]),
    y: loss.map((p) => p[1]),
    mode: "lines",
    line: { color: style("coarse"), width: 1.5 },
    hovertemplate: "step %{x}: %{y:.3g}<extra></extra>",
  };
  return plot(box, [line], {
    xaxis: { title: { text: "step", standoff: 4 } },
    yaxis: loss.every((p) => p[1] > 0) ? log("loss") : { title: { text: "loss" } },
  });
}
function made(set) {
  const t = D.training;
  at("#made h2").textContent = t ? "Settings and training" : "Settings";
  at("#made .made").replaceChildren(settings(set));
  if (!t) return [];
  const took = t.seconds < 120 ? `${num(t.seconds)} s` : `${num(t.seconds / 60)} min`;
  const pairs = [
    ["Method", t.method],
    ["Picture", t.picture],
    ["Took", took + (t.minutes == null ? "" : ` of ${num(t.minutes)} min`)],
    ["Steps", `${t.steps} of ${t.batch} pictures`],
    ["Parameters", t.parameters >= 1e6 ? num(t.parameters / 1e6) + " million" : t.parameters],
    ["Seed", t.seed],
  ];
  const [figure, box] = plotBox("Loss"),
    training = make("div", null, make("h3", null, "Training"), list(pairs));
  at("#made .made").append(training);
  if (!t.loss.length) return [];
  training.append(figure);
  return [() => drawLoss(box)];
}

function show(set) {
  at("#summary").textContent = set == D.sets[0] ? "" : set.sentence; // the first is in the header
  at("#goal").replaceChildren(
    ...picture(set.goal, "The goal picture", "The goal: what the camera should see").childNodes,
  );
  watch(set);
  film(set);
  drawAll([...curves(set), ...space(set), ...basin(set), ...made(set)]);
}
const chosen = () => D.sets[+at("#pick").value || 0];
table();
options(
  "#pick",
  D.sets.map((set, k) => [k, set.label]),
);
at(".pick").hidden = D.sets.length < 2;
at("#pick").onchange = () => show(chosen());
at("#play").onclick = play;
at("#frame").oninput = () => {
  stop();
  draw();
};
matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => show(chosen()));
show(chosen());
// The animation starts when it is first in view, unless the reader has asked for less motion.
if (!matchMedia("(prefers-reduced-motion: reduce)").matches) {
  const observer = new IntersectionObserver(
    (entries) => {
      if (!entries.some((e) => e.isIntersecting)) return;
      observer.disconnect();
      if (!player.timer && player.movie && +at("#frame").value == 0) play();
    },
    { threshold: 0.6 },
  );
  observer.observe(at("#watch .screens"));
}
