// What both pages share: figures as text, elements, plots.
"use strict";
const D = JSON.parse(document.getElementById("data").textContent);
const at = (selector) => document.querySelector(selector);
/** So many significant digits, without exponents; \u00a0 keeps what belongs together in one line. */
const num = (x, digits = 3) =>
  x == null
    ? "unknown"
    : x && Math.abs(x) < 1e-5
      ? "<\u00a00.00001"
      : Math.abs(x) >= 10 ** digits
        ? x.toFixed(0)
        : Math.abs(x) < 1e-3
          ? String(Number(x.toFixed(5)))
          : String(Number(x.toPrecision(digits)));
const percent = (x) => num(100 * x) + "\u00a0%";

/** An element with attributes and children; strings become text, never HTML. */
function make(tag, attributes, ...children) {
  const element = document.createElement(tag);
  for (const [k, v] of Object.entries(attributes || {})) element.setAttribute(k, v);
  element.append(...children.filter((c) => c != null));
  return element;
}
const picture = (src, alt, caption) =>
  make("figure", null, make("img", { src, alt }), make("figcaption", null, caption || alt));
const plotBox = (title) => {
  const box = make("div", { class: "plot" });
  return [make("figure", null, make("h3", null, title), box), box];
};

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
