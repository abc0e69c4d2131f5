// Draws the pictures on the page of a run: one run as an animation, a few in four pictures each.
"use strict";
function errorText(set, i, when) {
  return set.has_errors
    ? `${num(set[when + "_mm"][i])}\u00a0mm, ${num(set[when + "_deg"][i])}\u00a0deg`
    : `image error ${num(set[when + "_image"][i])}`;
}
function outcome(set, i) {
  if (!set.converged) return "unknown";
  return set.converged[i] ? "converged" : "not converged";
}
const TONES = {
  converged: "good",
  "not converged": "bad",
  unknown: "mute",
  arrived: "good",
  lost: "bad",
  "out of time": "mute",
  stopped: "mute",
};

// --- one run as an animation ---
const player = { timer: 0, movie: null, sheets: [] };
function stop() {
  clearInterval(player.timer);
  player.timer = 0;
  at("#play").textContent = "Play";
}
function play() {
  if (player.timer) return stop();
  const slider = at("#frame");
  if (+slider.value >= +slider.max) slider.value = 0;
  at("#play").textContent = "Pause";
  player.timer = setInterval(() => {
    slider.value = +slider.value + 1;
    draw();
    if (+slider.value >= +slider.max) stop();
  }, 140);
}
function draw() {
  const m = player.movie,
    k = +at("#frame").value;
  player.sheets.forEach(({ canvas, sheet }) => {
    const x = (k % m.columns) * m.width,
      y = Math.floor(k / m.columns) * m.height;
    canvas.getContext("2d").drawImage(sheet, x, y, m.width, m.height, 0, 0, m.width, m.height);
  });
  at("#readout").replaceChildren(...readout(m, k));
  at("#frame").setAttribute(
    "aria-valuetext",
    `step ${m.step[k]}` + (m.mm ? `, ${num(m.mm[k])} mm, ${num(m.deg[k])} deg` : ""),
  );
}
/** The figures of frame k. */
function readout(m, k) {
  const figure = (before, value, after) =>
    make("span", null, before, make("b", null, String(value)), after);
  const phase = (refining) =>
    make(
      "span",
      { class: "phase", style: `color:var(--${refining ? "fine" : "coarse"})` },
      refining ? "refinement" : "coarse method",
    );
  return [
    figure("step ", m.step[k], ""),
    m.refining && phase(m.refining[k]),
    m.mm && figure("", num(m.mm[k]), " mm"),
    m.deg && figure("", num(m.deg[k]), " deg"),
    m.image[k] != null && figure("image error ", num(m.image[k], 2), ""),
  ].filter(Boolean);
}
async function load(m) {
  stop();
  player.movie = m;
  const labels = {
    view: `What the camera of run ${m.run} sees`,
    difference: `Difference of run ${m.run} to the goal`,
  };
  const sheets = Object.entries(labels).map(([name, label]) => {
    const sheet = new Image();
    sheet.src = m[name];
    const attributes = { width: m.width, height: m.height, role: "img", "aria-label": label };
    return { sheet, canvas: make("canvas", attributes) };
  });
  const box = (canvas, caption) => make("figure", null, canvas, make("figcaption", null, caption));
  at("#watch .screens").replaceChildren(
    box(sheets[0].canvas, "The camera sees"),
    picture(m.goal, `Goal of run ${m.run}`, "Goal"),
    box(sheets[1].canvas, "Difference"),
  );
  at("#frame").max = m.step.length - 1;
  at("#frame").value = 0;
  await Promise.all(sheets.map((s) => s.sheet.decode()));
  if (player.movie == m) {
    player.sheets = sheets;
    draw();
  }
}
function watch(set) {
  at("#watch").hidden = !set.movies.length;
  if (!set.movies.length) return;
  const name = (m) =>
    `Run ${m.run}: ${errorText(set, m.run, "start")}` +
    (outcome(set, m.run) == "not converged" ? ", not converged" : "");
  at("#which").replaceChildren();
  options(
    "#which",
    set.movies.map((m, k) => [k, name(m)]),
  );
  at("#which").onchange = () => load(set.movies[at("#which").value]);
  at("#which").hidden = set.movies.length < 2;
  load(set.movies[0]);
}

// --- a few runs in four pictures each ---
function strip(set, f) {
  // Where the goal's pose is not known, the method's own verdict stands.
  const result = set.converged ? outcome(set, f.run) : set.ending[f.run];
  const title = [
    make("span", null, f.role[0].toUpperCase() + f.role.slice(1)),
    make("small", { class: "mute" }, `run ${f.run}`),
    make("span", { class: "badge " + TONES[result] }, result),
  ];
  const pictures = [
    picture(f.start, `Start of run ${f.run}`, "Start"),
    picture(f.goal, `Goal of run ${f.run}`, "Goal"),
    picture(f.end, `End of run ${f.run}`, "End"),
    picture(f.difference, `Difference of the end of run ${f.run} to its goal`, "Difference"),
  ];
  const text = [
    `From ${errorText(set, f.run, "start")} to `,
    make("b", null, errorText(set, f.run, "end")),
    ` in ${set.steps[f.run]} steps; ${set.reason[f.run]}.`,
  ];
  return make(
    "article",
    null,
    make("h3", null, ...title),
    make("div", { class: "frames" }, ...pictures),
    make("p", { class: "note" }, ...text),
  );
}
function film(set) {
  at("#film").hidden = !set.film.length;
  at("#film .film").replaceChildren(...set.film.map((f) => strip(set, f)));
}
