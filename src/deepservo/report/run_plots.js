// Draws the plots on the page of a run: errors and speeds against the step, and the starts.
"use strict";
const hover = (set, i) =>
  [
    `run ${i}: ${outcome(set, i)}`,
    `start ${errorText(set, i, "start")}`,
    `end ${errorText(set, i, "end")}`,
    `${set.steps[i]} steps`,
  ].join("<br>");

// --- errors and speeds against the step ---
const CURVES = [
  ["mm", "Distance to the goal", "mm"],
  ["deg", "Rotation to the goal", "deg"],
  ["image", "Image error", "root mean square"],
  ["speed", "Speed", "mm/s"],
  ["turn", "Angular speed", "deg/s"],
];
/** The median step at which the refinement begins; null where it never does. */
function medianHandover(set) {
  const steps = set.handover.filter((h) => h >= 0).sort((a, b) => a - b);
  return steps.length ? steps[Math.floor(steps.length / 2)] : null;
}
/** One trace of all runs while they refine, or before: gaps (null) part the runs. */
function phaseTrace(set, lines, refining) {
  const { step } = set.curves,
    many = set.steps.length > 1,
    x = [],
    y = [];
  lines.forEach((line, j) => {
    const handover = set.handover[set.drawn[j]];
    let meet = handover < 0 ? line.length : step.findIndex((s) => s >= handover);
    if (meet < 0) meet = line.length;
    // Both phases have the point where they meet.
    const [from, to] = refining ? [meet, line.length] : [0, Math.min(meet + 1, line.length)];
    x.push(...step.slice(from, to), null);
    y.push(...line.slice(from, to), null);
  });
  return {
    x,
    y,
    mode: "lines",
    hoverinfo: "skip",
    opacity: many ? +style("shade") : 1,
    line: { width: many ? 1 : 2.5, color: style(refining ? "fine" : "coarse") },
  };
}
function drawCurves(set, box, key, unit) {
  const { median, lines } = set.curves[key],
    handover = medianHandover(set);
  const bold = {
    x: set.curves.step,
    y: median,
    mode: "lines",
    line: { width: 2.5, color: style("ink") },
    opacity: set.steps.length > 1 ? 1 : 0,
    hovertemplate: `step %{x}: %{y:.3g} ${unit}<extra></extra>`,
  };
  const mark = {
    type: "line",
    x0: handover,
    x1: handover,
    yref: "paper",
    y0: 0,
    y1: 1,
    line: { dash: "dot", width: 1.5, color: style("fine") },
  };
  return plot(box, [phaseTrace(set, lines, false), phaseTrace(set, lines, true), bold], {
    shapes: handover == null ? [] : [mark],
    hovermode: "x",
    xaxis: { title: { text: "step", standoff: 4 }, rangemode: "tozero" },
    // The image error spans about one decade: its axis has ticks at 1, 2 and 5.
    yaxis: { ...log(unit), ...(key == "image" && { dtick: "D2" }) },
  });
}
function curvesKey(set) {
  const line = (css, text) => make("li", null, make("i", { style: css }), text);
  const n = set.steps.length,
    handover = medianHandover(set);
  let shown = n > 1 ? "each run" : "the run";
  if (set.drawn.length < n) shown = `${set.drawn.length} of the ${n} runs`;
  const key = [];
  // Where every run refines from step 0 on, there is no coarse method.
  if (set.handover.some((h) => h != 0))
    key.push(line("color:var(--coarse)", shown + (handover == null ? "" : ", coarse method")));
  if (handover != null) key.push(line("color:var(--fine)", shown + ", photometric refinement"));
  if (n > 1) key.push(line("color:var(--ink);border-width:3px", "median of all runs"));
  if (handover != null) {
    const step = n > 1 ? `median step ${handover}` : `step ${handover}`;
    key.push(line("color:var(--fine);border-top-style:dotted", `refinement begins (${step})`));
  }
  return make("ul", { class: "key" }, ...key);
}
function curves(set) {
  const jobs = [];
  const figures = CURVES.filter(([key]) => set.curves[key]).map(([key, title, unit]) => {
    const [figure, box] = plotBox(title);
    jobs.push(() => drawCurves(set, box, key, unit));
    return figure;
  });
  at("#curves .plots").replaceChildren(...figures, curvesKey(set));
  return jobs;
}

// --- which starts converged ---
/** Two traces of starts: those that converged, coloured by their end error, and the others. */
function startTraces(set, x, y, size, showscale) {
  const all = set.steps.map((_, i) => i),
    failed = all.filter((i) => outcome(set, i) == "not converged"),
    others = all.filter((i) => outcome(set, i) != "not converged");
  const end = (i) => Math.log10(Math.max(set.end_mm[i], 1e-9)),
    ends = others.length ? others.map(end) : [0],
    low = Math.floor(Math.min(...ends)),
    high = Math.max(Math.ceil(Math.max(...ends)), low + 1);
  const ticks = Array.from({ length: high - low + 1 }, (_, k) => low + k);
  const colorbar = {
    title: { text: "end [mm]", side: "right" },
    thickness: 12,
    outlinewidth: 0,
    tickvals: ticks,
    ticktext: ticks.map((t) => String(Number((10 ** t).toPrecision(1)))),
  };
  const trace = (which, marker) => ({
    x: which.map(x),
    y: which.map(y),
    mode: "markers",
    text: which.map((i) => hover(set, i)),
    hovertemplate: "%{text}<extra></extra>",
    marker: { ...marker, line: { width: 0.8, color: style("mute") } },
  });
  return [
    trace(others, {
      size: others.map(size),
      color: others.map(end),
      cmin: low,
      cmax: high,
      colorscale: "Viridis",
      showscale: showscale && others.length > 0,
      colorbar,
    }),
    trace(failed, { size: 12, symbol: "x", color: style("bad") }),
  ];
}
const BESIDE_GOAL = {
  xaxis: { title: { text: "right of the goal [mm]" } },
  yaxis: { title: { text: "below the goal [mm]" }, autorange: "reversed", scaleanchor: "x" },
};
const AT_START = {
  xaxis: { title: { text: "distance at the start [mm]" }, rangemode: "tozero" },
  yaxis: { title: { text: "rotation at the start [deg]" }, rangemode: "tozero" },
};
function basin(set) {
  const useful = set.has_errors && set.steps.length > 1;
  at("#basin").hidden = !useful;
  if (!useful) return [];
  const [one, left] = plotBox("Position of the start beside the goal"),
    [two, right] = plotBox("Distance and rotation at the start"),
    most = Math.max(...set.start_deg, 1);
  at("#basin .plots").replaceChildren(one, two);
  const value = (key) => (i) => set[key][i],
    turned = (i) => 7 + (11 * set.start_deg[i]) / most;
  return [
    () => plot(left, startTraces(set, value("x"), value("y"), turned, false), BESIDE_GOAL),
    () => {
      const [x, y] = [value("start_mm"), value("start_deg")];
      return plot(
        right,
        startTraces(set, x, y, () => 10, true),
        AT_START,
      );
    },
  ];
}
