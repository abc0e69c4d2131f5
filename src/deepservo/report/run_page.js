// Draws the report page from the data in it: run_page.py puts this script and its data into run_page.html.
"use strict";
function errorText(set, i, when) {
  return set.known
    ? `${num(set[when + "_mm"][i])}\u00a0mm, ${num(set[when + "_deg"][i])}\u00a0deg`
    : `image error ${num(set[when + "_image"][i])}`;
}
const fate = (set, i) => (!set.home ? "unknown" : set.home[i] ? "home" : "not home");
const tone = { home: "good", "not home": "bad", unknown: "mute" };

// --- the table of results: rows on a desktop, cards on a phone ---
const small = (text) => (text == null ? "" : make("small", null, text));
function mean(r, unit) {
  const average = r[`end_${unit}_mean`],
    spread = r[`end_${unit}_std`];
  return average == null
    ? null
    : `mean ${num(average, 2)}` + (spread == null ? "" : ` ±\u00a0${num(spread, 2)}`);
}
const COLUMNS = [
  ["Method", "", (r) => (r.method == null ? null : [r.method])],
  [
    "Set",
    "And its picture",
    (r) => (r.set == null && r.scene == null ? null : [r.set || "", small(r.scene)]),
  ],
  ["Runs", "", (r) => (r.n == null ? null : [String(r.n)])],
  [
    "Came home",
    "With its 95 % interval",
    (r) =>
      r.converged === undefined
        ? null
        : r.converged == null
          ? ["unknown", small("the goal's pose is not known")]
          : [
              percent(r.converged),
              small(
                r.converged_ci &&
                  `${num(100 * r.converged_ci[0])} to ${num(100 * r.converged_ci[1])}`,
              ),
            ],
  ],
  ["Strictly", "By the stricter rule", (r) => (r.strict == null ? null : [percent(r.strict)])],
  [
    "Settled",
    "The last ten steps were all under 0.1 mm and 0.01 deg, whether the run was ended for that or not",
    (r) => (r.settled == null ? null : [percent(r.settled)]),
  ],
  [
    "End [mm]",
    "Median of the runs that came home",
    (r) => (r.end_mm_median == null ? null : [num(r.end_mm_median, 2), small(mean(r, "mm"))]),
  ],
  [
    "End [deg]",
    "Median of the runs that came home",
    (r) => (r.end_deg_median == null ? null : [num(r.end_deg_median, 2), small(mean(r, "deg"))]),
  ],
  [
    "Path",
    "Length of the path; 1 is the straight line",
    (r) => (r.length_ratio == null ? null : [r.length_ratio.toFixed(2) + "\u00a0×"]),
  ],
  [
    "Steps",
    "Median, until home for good",
    (r) => (r.steps_median == null ? null : [num(r.steps_median)]),
  ],
  [
    "A step [ms]",
    "Median, and the 99th of a hundred",
    (r) =>
      r.ms_per_step_p50 == null
        ? null
        : [
            num(r.ms_per_step_p50),
            small(r.ms_per_step_p99 == null ? null : "p99 " + num(r.ms_per_step_p99)),
          ],
  ],
];
function table() {
  at("#table").hidden = !D.rows.length;
  const used = COLUMNS.filter(([, , cell]) => D.rows.some(cell));
  at("#table .scroll").append(
    make(
      "table",
      null,
      make(
        "thead",
        null,
        make(
          "tr",
          null,
          ...used.map(([name, help]) => make("th", { scope: "col", title: help }, name)),
        ),
      ),
      make(
        "tbody",
        null,
        ...D.rows.map((r) =>
          make(
            "tr",
            null,
            ...used.map(([name, , cell]) =>
              make("td", { "data-name": name }, make("span", null, ...(cell(r) || ["–"]))),
            ),
          ),
        ),
      ),
    ),
  );
}

// --- one run, moving ---
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
  const fact = (before, value, after) =>
    make("span", null, before, make("b", null, String(value)), after);
  at("#readout").replaceChildren(
    ...[
      fact("step ", m.step[k], ""),
      m.fine &&
        make(
          "span",
          { class: "stage", style: `color:var(--${m.fine[k] ? "fine" : "coarse"})` },
          m.fine[k] ? "finish" : "coarse method",
        ),
      m.mm && fact("", num(m.mm[k]), " mm"),
      m.deg && fact("", num(m.deg[k]), " deg"),
      m.image[k] != null && fact("image error ", num(m.image[k], 2), ""),
    ].filter(Boolean),
  );
  at("#frame").setAttribute(
    "aria-valuetext",
    `step ${m.step[k]}` + (m.mm ? `, ${num(m.mm[k])} mm, ${num(m.deg[k])} deg` : ""),
  );
}
async function load(set, m) {
  stop();
  player.movie = m;
  const sheets = ["view", "difference"].map((name) => {
    const sheet = new Image();
    sheet.src = m[name];
    const alt =
      name == "view"
        ? `What the camera of run ${m.run} sees`
        : `Difference of run ${m.run} to the goal`;
    return {
      sheet,
      canvas: make("canvas", { width: m.width, height: m.height, role: "img", "aria-label": alt }),
    };
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
    (fate(set, m.run) == "not home" ? ", not home" : "");
  at("#which").replaceChildren(...set.movies.map((m, k) => make("option", { value: k }, name(m))));
  at("#which").onchange = () => load(set, set.movies[at("#which").value]);
  at("#which").hidden = set.movies.length < 2;
  load(set, set.movies[0]);
}

// --- a few runs in four pictures each ---
function film(set) {
  at("#film").hidden = !set.film.length;
  at("#film .film").replaceChildren(
    ...set.film.map((f) =>
      make(
        "article",
        null,
        make(
          "h3",
          null,
          make("span", null, f.role[0].toUpperCase() + f.role.slice(1)),
          make("small", { class: "mute" }, `run ${f.run}`),
          set.home && make("span", { class: "badge " + tone[fate(set, f.run)] }, fate(set, f.run)),
        ),
        make(
          "div",
          { class: "frames" },
          picture(f.start, `Start of run ${f.run}`, "Start"),
          picture(f.goal, `Goal of run ${f.run}`, "Goal"),
          picture(f.end, `End of run ${f.run}`, "End"),
          picture(f.difference, `Difference of the end of run ${f.run} to its goal`, "Difference"),
        ),
        make(
          "p",
          { class: "note" },
          `From ${errorText(set, f.run, "start")} to `,
          make("b", null, errorText(set, f.run, "end")),
          ` in ${set.steps[f.run]} steps; stopped: ${set.reason[f.run]}.`,
        ),
      ),
    ),
  );
}

// --- plots ---
const CURVES = [
  ["mm", "Distance to the goal", "mm"],
  ["deg", "Rotation to the goal", "deg"],
  ["image", "Image error", "root mean square"],
  ["speed", "Speed", "mm/s"],
  ["turn", "Turning", "deg/s"],
];
function curves(set) {
  const handed = set.handover.filter((h) => h >= 0).sort((a, b) => a - b);
  const handover = handed.length ? handed[Math.floor(handed.length / 2)] : null;
  const jobs = [],
    many = set.steps.length > 1,
    step = set.curves.step;
  const boxes = CURVES.filter(([k]) => set.curves[k]).map(([k, title, unit]) => {
    const [figure, box] = plotBox(title),
      { median, lines } = set.curves[k];
    // One trace for all runs in a stage: gaps (null) part them; both stages share the point where they meet.
    const stage = (fine) => {
      const x = [],
        y = [];
      lines.forEach((line, j) => {
        const h = set.handover[set.drawn[j]];
        let meet = h < 0 ? line.length : step.findIndex((s) => s >= h);
        if (meet < 0) meet = line.length;
        const [from, to] = fine ? [meet, line.length] : [0, Math.min(meet + 1, line.length)];
        for (let n = from; n < to; n++) {
          x.push(step[n]);
          y.push(line[n]);
        }
        x.push(null);
        y.push(null);
      });
      return {
        x,
        y,
        mode: "lines",
        hoverinfo: "skip",
        opacity: many ? +style("shade") : 1,
        line: { width: many ? 1 : 2.5, color: style(fine ? "fine" : "coarse") },
      };
    };
    const bold = {
      x: step,
      y: median,
      mode: "lines",
      line: { width: 2.5, color: style("ink") },
      opacity: many ? 1 : 0,
      hovertemplate: `step %{x}: %{y:.3g} ${unit}<extra></extra>`,
    };
    const dotted = { dash: "dot", width: 1.5, color: style("fine") };
    const mark = {
      type: "line",
      x0: handover,
      x1: handover,
      yref: "paper",
      y0: 0,
      y1: 1,
      line: dotted,
    };
    jobs.push(() =>
      plot(box, [stage(false), stage(true), bold], {
        shapes: handover == null ? [] : [mark],
        hovermode: "x",
        xaxis: { title: { text: "step", standoff: 4 }, rangemode: "tozero" },
        yaxis: log(unit),
      }),
    );
    return figure;
  });
  const line = (css, text) => make("li", null, make("i", { style: css }), text);
  const shown =
    set.drawn.length < set.steps.length
      ? `${set.drawn.length} of the ${set.steps.length} runs`
      : many
        ? "each run"
        : "the run";
  const coarse = set.handover.some((h) => h != 0); // with 0 for all there is no first stage to show
  boxes.push(
    make(
      "ul",
      { class: "key" },
      !coarse
        ? null
        : line("color:var(--coarse)", shown + (handover == null ? "" : ", coarse method")),
      handover == null ? null : line("color:var(--fine)", shown + ", finish"),
      many ? line("color:var(--ink);border-width:3px", "median of all runs") : null,
      handover == null
        ? null
        : line(
            "color:var(--fine);border-top-style:dotted",
            `handed over (${many ? "median " : ""}step ${handover})`,
          ),
    ),
  );
  at("#curves .plots").replaceChildren(...boxes);
  return jobs;
}

/** Colours of the corners of a grid laid over the picture; plotly cannot put a picture into space. */
let texture;
async function groundColours() {
  const image = new Image();
  image.src = D.scene.picture;
  await image.decode();
  const canvas = make("canvas", { width: image.width, height: image.height }),
    pen = canvas.getContext("2d");
  pen.drawImage(image, 0, 0);
  const { width: w, height: h } = image,
    [x, y] = D.scene.centre,
    rgba = pen.getImageData(0, 0, w, h).data;
  const ground = {
    type: "mesh3d",
    x: [],
    y: [],
    z: [],
    i: [],
    j: [],
    k: [],
    vertexcolor: [],
    hoverinfo: "skip",
    lighting: { ambient: 1, diffuse: 0, specular: 0, fresnel: 0 },
    flatshading: false,
  };
  for (let v = 0; v < h; v++)
    for (let u = 0; u < w; u++) {
      const n = v * w + u;
      ground.x.push(x + (u / (w - 1) - 0.5) * D.scene.width);
      ground.y.push((0.5 - v / (h - 1)) * D.scene.height - y);
      ground.z.push(0);
      ground.vertexcolor.push(`rgb(${rgba[4 * n]},${rgba[4 * n + 1]},${rgba[4 * n + 2]})`);
      if (u < w - 1 && v < h - 1) {
        ground.i.push(n, n + 1);
        ground.j.push(n + 1, n + w + 1);
        ground.k.push(n + w, n + w);
      }
    }
  return ground;
}
// World y points down and z away from the camera: here up is -z, towards the cameras, and the picture is read from above.
const lay = (points) => ({
  x: points.map((p) => p && p[0]),
  y: points.map((p) => p && -p[1]),
  z: points.map((p) => p && -p[2]),
});
function space(set) {
  at("#paths").hidden = !set.space;
  if (!set.space) return [];
  const colour = { home: style("good"), "not home": style("bad"), unknown: style("coarse") },
    traces = [];
  for (const word of Object.keys(colour)) {
    const mine = set.drawn
      .map((run, j) => [run, set.space.paths[j]])
      .filter(([run]) => fate(set, run) == word);
    if (!mine.length) continue;
    const start = {
      size: 4.5,
      color: colour[word],
      symbol: word == "not home" ? "diamond" : "circle",
    };
    traces.push({
      type: "scatter3d",
      mode: "lines",
      ...lay(mine.flatMap(([, path]) => [...path, null])),
      opacity: 0.75,
      line: { width: 3, color: colour[word] },
      hoverinfo: "skip",
      showlegend: false,
    });
    traces.push({
      type: "scatter3d",
      mode: "markers",
      ...lay(mine.map(([, path]) => path[0])),
      marker: start,
      showlegend: true,
      name: word == "unknown" ? "start" : `start, ${word}`,
      text: mine.map(([run]) => hover(set, run)),
      hovertemplate: "%{text}<extra></extra>",
    });
  }
  const goals = set.space.goals;
  if (goals.length)
    traces.push({
      type: "scatter3d",
      mode: "lines",
      ...lay(goals.flatMap((g) => [...g, null])),
      name: "goal camera",
      showlegend: true,
      line: { width: 5, color: style("fine") },
      hoverinfo: "skip",
    });
  // The box holds the starts, the picture and the goals; a run that strayed far leaves it instead of shrinking the rest.
  const right = D.scene.width / 2,
    below = D.scene.height / 2,
    [x, y] = D.scene.centre;
  const box = lay([
    ...set.space.paths.map((p) => p[0]),
    ...goals.flat(),
    [x - right, y - below, 0],
    [x + right, y + below, 0],
  ]);
  const sides = [],
    narrow = at("#space").clientWidth < 500; // there names beside the axes would be cut off
  const axis = (text, values) => {
    const low = Math.min(...values),
      high = Math.max(...values),
      room = 0.08 * (high - low);
    sides.push(high - low);
    return {
      title: { text: narrow ? "" : text },
      range: [low - room, high + room],
      gridcolor: style("line"),
      linecolor: style("mute"),
      zeroline: false,
      showbackground: false,
      nticks: 5,
      tickfont: { size: narrow ? 10 : 12 },
    };
  };
  const scene = {
    aspectmode: "data",
    xaxis: axis("x [m]", box.x),
    yaxis: axis("y [m]", box.y),
    zaxis: axis("height [m]", box.z),
  };
  // Plotly draws the box as large as its mean side: a longer one is looked at from farther away, on a phone as well.
  const away =
    (Math.max(...sides) / Math.cbrt(sides[0] * sides[1] * sides[2])) * (narrow ? 1.3 : 1);
  scene.camera = {
    eye: { x: 0.75 * away, y: -1.3 * away, z: 0.76 * away },
    center: { x: 0, y: 0, z: -0.14 },
  };
  return [
    async () =>
      plot(at("#space"), [(texture ||= await groundColours()), ...traces], {
        scene,
        dragmode: "orbit",
        margin: { l: 0, r: 0, t: 0, b: 0 },
        showlegend: true,
        legend: { orientation: "h", x: 0, y: 1, itemsizing: "constant" },
      }),
  ];
}
const hover = (set, i) =>
  [
    `run ${i}: ${fate(set, i)}`,
    `start ${errorText(set, i, "start")}`,
    `end ${errorText(set, i, "end")}`,
    `${set.steps[i]} steps`,
  ].join("<br>");

function basin(set) {
  const useful = set.known && set.steps.length > 1;
  at("#basin").hidden = !useful;
  if (!useful) return [];
  const end = set.end_mm.map((e) => Math.log10(Math.max(e, 1e-9))),
    all = set.steps.map((_, i) => i),
    biggest = Math.max(...set.start_deg, 1);
  const stayed = all.filter((i) => fate(set, i) != "not home"),
    lost = all.filter((i) => fate(set, i) == "not home");
  const ends = stayed.length ? stayed.map((i) => end[i]) : [0];
  const low = Math.floor(Math.min(...ends)),
    high = Math.max(Math.ceil(Math.max(...ends)), low + 1);
  const ticks = [];
  for (let t = low; t <= high; t++) ticks.push(t);
  const bar = {
    title: { text: "end [mm]", side: "right" },
    thickness: 12,
    outlinewidth: 0,
    tickvals: ticks,
    ticktext: ticks.map((t) => String(Number((10 ** t).toPrecision(1)))),
  };
  const marks = (which, x, y, marker) => ({
    x: which.map(x),
    y: which.map(y),
    mode: "markers",
    text: which.map((i) => hover(set, i)),
    hovertemplate: "%{text}<extra></extra>",
    marker: { ...marker, line: { width: 0.8, color: style("mute") } },
  });
  const dots = (x, y, size, showscale) => [
    marks(stayed, x, y, {
      size: stayed.map(size),
      color: stayed.map((i) => end[i]),
      cmin: low,
      cmax: high,
      colorscale: "Viridis",
      showscale: showscale && stayed.length > 0,
      colorbar: bar,
    }),
    marks(lost, x, y, { size: 12, symbol: "x", color: style("bad") }),
  ];
  const [one, left] = plotBox("Where they started, beside the goal"),
    [two, right] = plotBox("How far, and how much turned");
  at("#basin .plots").replaceChildren(one, two);
  return [
    () =>
      plot(
        left,
        dots(
          (i) => set.x[i],
          (i) => set.y[i],
          (i) => 7 + (11 * set.start_deg[i]) / biggest,
          false,
        ),
        {
          xaxis: { title: { text: "right of the goal [mm]" } },
          yaxis: {
            title: { text: "below the goal [mm]" },
            autorange: "reversed",
            scaleanchor: "x",
          },
        },
      ),
    () =>
      plot(
        right,
        dots(
          (i) => set.start_mm[i],
          (i) => set.start_deg[i],
          () => 10,
          true,
        ),
        {
          xaxis: { title: { text: "distance at the start [mm]" }, rangemode: "tozero" },
          yaxis: { title: { text: "rotation at the start [deg]" }, rangemode: "tozero" },
        },
      ),
  ];
}

// --- how it was made ---
function made(set) {
  const c = D.camera,
    t = D.training,
    jobs = [];
  const several = (key, unit = "") => {
    const values = [...new Set(D.rows.map((r) => r[key]).filter((v) => v != null))];
    return values.length ? values.join(", ") + unit : "";
  };
  const list = (pairs) =>
    make(
      "dl",
      null,
      ...pairs
        .filter(([, v]) => v !== "" && v != null)
        .flatMap(([k, v]) => [make("dt", null, k), make("dd", null, String(v))]),
    );
  const settings = make(
    "div",
    null,
    make("h3", null, "Settings"),
    list([
      ["Camera", `${c.width} × ${c.height} px, focal lengths ${num(c.fx)} and ${num(c.fy)} px`],
      ["Picture", `${num(D.scene.width)} × ${num(D.scene.height)} m on a plane`],
      ["Gain", several("gain")],
      ["Time step", several("dt", " s")],
      ["Most steps", several("max_steps")],
      ["Seed", several("seed")],
      ["Runs", set.steps.length],
      ["Steps taken", set.steps.reduce((a, b) => a + b, 0)],
      ["Why they stopped", set.reasons.map(([why, n]) => `${n} × ${why}`).join("; ")],
    ]),
  );
  if (!t) return (at("#made .made").replaceChildren(settings), jobs);
  const took = t.seconds < 120 ? `${num(t.seconds)} s` : `${num(t.seconds / 60)} min`;
  const [figure, box] = plotBox("Loss");
  const trained = make(
    "div",
    null,
    make("h3", null, "Training"),
    list([
      ["Method", t.method],
      ["From", t.picture],
      ["Took", took + (t.minutes == null ? "" : ` of ${num(t.minutes)} min`)],
      ["Steps", `${t.steps} of ${t.batch} pictures`],
      ["Parameters", t.parameters >= 1e6 ? num(t.parameters / 1e6) + " million" : t.parameters],
      ["Seed", t.seed],
    ]),
    t.loss.length ? figure : null,
  );
  if (t.loss.length)
    jobs.push(() =>
      plot(
        box,
        [
          {
            x: t.loss.map((p) => p[0]),
            y: t.loss.map((p) => p[1]),
            mode: "lines",
            line: { color: style("coarse"), width: 1.5 },
            hovertemplate: "step %{x}: %{y:.3g}<extra></extra>",
          },
        ],
        {
          xaxis: { title: { text: "step", standoff: 4 } },
          yaxis: t.loss.every((p) => p[1] > 0) ? log("loss") : { title: { text: "loss" } },
        },
      ),
    );
  at("#made .made").replaceChildren(settings, trained);
  return jobs;
}

let turn = 0;
async function show(set) {
  const mine = ++turn;
  at("#said").textContent = set == D.sets[0] ? "" : set.sentence; // the first has said it at the top
  at("#goal").replaceChildren(
    ...picture(set.goal, "The goal picture", "The goal: where the camera should see this")
      .childNodes,
  );
  watch(set);
  film(set);
  // One plot at a time, with a breath between, so that the page can be read and scrolled meanwhile.
  for (const job of [...curves(set), ...space(set), ...basin(set), ...made(set)]) {
    await new Promise((done) => setTimeout(done));
    if (mine != turn) return;
    await job();
  }
  document.documentElement.dataset.drawn = "yes";
}
const chosen = () => D.sets[+at("#pick").value || 0];
table();
at("#pick").append(...D.sets.map((s, k) => make("option", { value: k }, s.label)));
at(".pick").hidden = D.sets.length < 2;
at("#pick").onchange = () => show(chosen());
at("#play").onclick = play;
at("#frame").oninput = () => {
  stop();
  draw();
};
matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => show(chosen()));
show(chosen());
// The film starts by itself when it is first looked at, once, unless the reader has asked for less motion.
if (!matchMedia("(prefers-reduced-motion: reduce)").matches) {
  const seen = new IntersectionObserver(
    (entries) => {
      if (!entries.some((e) => e.isIntersecting)) return;
      seen.disconnect();
      if (!player.timer && player.movie && +at("#frame").value == 0) play();
    },
    { threshold: 0.6 },
  );
  seen.observe(at("#watch .screens"));
}
