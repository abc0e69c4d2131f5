// What both pages share: numbers as text, elements, tables, plots.
"use strict";
const D = JSON.parse(document.getElementById("data").textContent);
const at = (selector) => document.querySelector(selector);

/** A number with so many significant digits, without exponents. \u00a0 keeps it in one line. */
function num(x, digits = 3) {
  if (x == null) return "unknown";
  const size = Math.abs(x);
  if (x && size < 1e-5) return "<\u00a00.00001";
  if (size >= 10 ** digits) return x.toFixed(0);
  return String(Number(size < 1e-3 ? x.toFixed(5) : x.toPrecision(digits)));
}
const percent = (x) => num(100 * x) + "\u00a0%";
const interval = (ci) => `${num(100 * ci[0])} to ${num(100 * ci[1])}`;

/** An element with attributes and children; strings become text, never HTML. */
function make(tag, attributes, ...children) {
  const element = document.createElement(tag);
  for (const [k, v] of Object.entries(attributes || {})) element.setAttribute(k, v);
  element.append(...children.filter((c) => c != null));
  return element;
}
const small = (text) => (text == null ? null : make("small", null, text));
const picture = (src, alt, caption) =>
  make("figure", null, make("img", { src, alt }), make("figcaption", null, caption || alt));
const plotBox = (title) => {
  const box = make("div", { class: "plot" });
  return [make("figure", null, make("h3", null, title), box), box];
};
const options = (selector, values) =>
  at(selector).append(...values.map(([value, text]) => make("option", { value }, text)));

/** A table under column titles [text, tooltip]; rows are lists of td elements. */
function makeTable(titles, rows, attributes) {
  const head = titles.map(([text, help]) => make("th", { scope: "col", title: help || "" }, text));
  const lines = rows.map((cells) => make("tr", null, ...cells));
  return make(
    "table",
    attributes,
    make("thead", null, make("tr", null, ...head)),
    make("tbody", null, ...lines),
  );
}
/** A cell of such a table; on a phone, where there is no head, it shows its column's title. */
const cell = (title, contents, attributes) =>
  make("td", { "data-name": title, ...attributes }, make("span", null, ...contents));

const style = (name) =>
  getComputedStyle(document.documentElement)
    .getPropertyValue("--" + name)
    .trim();
const coarsePointer = matchMedia("(pointer: coarse)").matches;
const config = { responsive: true, displayModeBar: false };
const log = (title) => ({
  type: "log",
  title: { text: title, standoff: 6 },
  exponentformat: "power",
  dtick: 1,
  tickfont: { size: 11 },
});
/** An axis of a plot in space. */
const axisInSpace = (text) => ({
  title: { text },
  gridcolor: style("line"),
  linecolor: style("mute"),
  zeroline: false,
  showbackground: false,
  nticks: 5,
});
function plot(box, traces, layout) {
  const axis = {
    gridcolor: style("line"),
    linecolor: style("line"),
    zeroline: false,
    automargin: true,
  };
  const { xaxis, yaxis, ...rest } = layout;
  return Plotly.react(
    box,
    traces,
    {
      paper_bgcolor: "rgba(0,0,0,0)",
      plot_bgcolor: "rgba(0,0,0,0)",
      font: { color: style("mute"), family: "system-ui, sans-serif", size: 12 },
      margin: { l: 8, r: 8, t: 10, b: 8 },
      showlegend: false,
      hovermode: "closest",
      dragmode: coarsePointer ? false : "zoom",
      hoverlabel: {
        bgcolor: style("card"),
        bordercolor: style("mute"),
        font: { color: style("ink") },
        align: "left",
      },
      xaxis: { ...axis, ...xaxis },
      yaxis: { ...axis, ...yaxis },
      ...rest,
    },
    config,
  );
}

let drawing = 0;
/** Draws one plot after another, with a pause between in which the page can be scrolled. */
async function drawAll(jobs) {
  const mine = ++drawing;
  for (const job of jobs) {
    await new Promise((done) => setTimeout(done));
    if (mine != drawing) return;
    await job();
  }
  document.documentElement.dataset.drawn = "yes";
}
