// Draws the paths of the cameras in space, above the picture on the ground.
"use strict";
/** A mesh with the picture's colours at its corners: plotly cannot put a picture into space. */
async function groundMesh() {
  const image = new Image();
  image.src = D.scene.picture;
  await image.decode();
  const { width: w, height: h } = image,
    [x, y] = D.scene.centre,
    canvas = make("canvas", { width: w, height: h }),
    pen = canvas.getContext("2d");
  pen.drawImage(image, 0, 0);
  const rgba = pen.getImageData(0, 0, w, h).data;
  const mesh = { x: [], y: [], z: [], i: [], j: [], k: [], vertexcolor: [] };
  for (let v = 0; v < h; v++)
    for (let u = 0; u < w; u++) {
      const n = v * w + u;
      mesh.x.push(x + (u / (w - 1) - 0.5) * D.scene.width);
      mesh.y.push((0.5 - v / (h - 1)) * D.scene.height - y);
      mesh.z.push(0);
      mesh.vertexcolor.push(`rgb(${rgba[4 * n]},${rgba[4 * n + 1]},${rgba[4 * n + 2]})`);
      if (u < w - 1 && v < h - 1) {
        mesh.i.push(n, n + 1);
        mesh.j.push(n + 1, n + w + 1);
        mesh.k.push(n + w, n + w);
      }
    }
  const lighting = { ambient: 1, diffuse: 0, specular: 0, fresnel: 0 };
  return { type: "mesh3d", ...mesh, hoverinfo: "skip", lighting, flatshading: false };
}
let ground;

/**
 * World points as plotly's. World y points down and z away from the camera; here up is -z, towards
 * the cameras, and the picture is read from above.
 */
const toPlot = (points) => ({
  x: points.map((p) => p && p[0]),
  y: points.map((p) => p && -p[1]),
  z: points.map((p) => p && -p[2]),
});
const lines = (paths) => ({
  type: "scatter3d",
  mode: "lines",
  hoverinfo: "skip",
  ...toPlot(paths.flatMap((path) => [...path, null])),
});

/** The paths and starts of the runs with one outcome; none where there are no such runs. */
function pathTraces(set, result, color) {
  const mine = set.drawn
    .map((run, j) => [run, set.space.paths[j]])
    .filter(([run]) => outcome(set, run) == result);
  if (!mine.length) return [];
  const path = {
    ...lines(mine.map(([, points]) => points)),
    opacity: 0.75,
    line: { width: 3, color },
    showlegend: false,
  };
  const starts = {
    type: "scatter3d",
    mode: "markers",
    ...toPlot(mine.map(([, points]) => points[0])),
    marker: { size: 4.5, color, symbol: result == "not converged" ? "diamond" : "circle" },
    showlegend: true,
    name: result == "unknown" ? "start" : `start, ${result}`,
    text: mine.map(([run]) => hover(set, run)),
    hovertemplate: "%{text}<extra></extra>",
  };
  return [path, starts];
}

/** The box around the starts, the picture and the goals: a path that leads farther leaves it. */
function boxInSpace(set, narrow) {
  const right = D.scene.width / 2,
    below = D.scene.height / 2,
    [x, y] = D.scene.centre;
  const inside = toPlot([
    ...set.space.paths.map((path) => path[0]),
    ...set.space.goals.flat(),
    [x - right, y - below, 0],
    [x + right, y + below, 0],
  ]);
  const sides = [];
  const axis = (text, values) => {
    const low = Math.min(...values),
      high = Math.max(...values),
      room = 0.08 * (high - low);
    sides.push(high - low);
    return {
      ...axisInSpace(narrow ? "" : text), // on a phone names beside the axes would be cut off
      range: [low - room, high + room],
      tickfont: { size: narrow ? 10 : 12 },
    };
  };
  const axes = {
    xaxis: axis("x [m]", inside.x),
    yaxis: axis("y [m]", inside.y),
    zaxis: axis("height [m]", inside.z),
  };
  // Plotly draws the box as large as its mean side: a longer one is seen from farther away.
  const away = Math.max(...sides) / Math.cbrt(sides[0] * sides[1] * sides[2]),
    k = away * (narrow ? 1.3 : 1);
  const camera = {
    eye: { x: 0.75 * k, y: -1.3 * k, z: 0.76 * k },
    center: { x: 0, y: 0, z: -0.14 },
  };
  return { aspectmode: "data", ...axes, camera };
}

function space(set) {
  at("#paths").hidden = !set.space;
  if (!set.space) return [];
  const traces = [
    ...pathTraces(set, "converged", style("good")),
    ...pathTraces(set, "not converged", style("bad")),
    ...pathTraces(set, "unknown", style("coarse")),
  ];
  if (set.space.goals.length)
    traces.push({
      ...lines(set.space.goals),
      name: "goal camera",
      showlegend: true,
      line: { width: 5, color: style("fine") },
    });
  const layout = {
    scene: boxInSpace(set, at("#space").clientWidth < 500),
    dragmode: "orbit",
    margin: { l: 0, r: 0, t: 0, b: 0 },
    showlegend: true,
    legend: { orientation: "h", x: 0, y: 1, itemsizing: "constant" },
  };
  return [async () => plot(at("#space"), [(ground ||= await groundMesh()), ...traces], layout)];
}
