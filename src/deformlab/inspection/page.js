"use strict";
// Draws the precomputed samples of one unit.
const data = JSON.parse(document.getElementById("data").textContent);
const [imageChoice, networkChoice, viewChoice, scene, picture, frame, points, unit, description] =
  ["image", "network", "view", "scene", "picture", "frame", "points", "unit", "description"]
    .map((id) => document.getElementById(id));
// Margin around the image as a share of its longer side, because samples may lie outside the image.
const MARGIN = 0.08;
// Position of the unit in pixels of the image; kept when another network or layer is chosen.
let position = [0, 0];

function decode(text, Kind) {
  const bytes = Uint8Array.from(atob(text), (letter) => letter.charCodeAt(0));
  return new Kind(bytes.buffer);
}

function arrays(view) {
  // Decoded at first use, because a page may contain many views.
  view.arrays ??= {
    points: decode(view.points, Int16Array),
    weights: decode(view.weights, Uint8Array),
    dilation: decode(view.dilation, Float32Array),
    centres: decode(view.centres, Float32Array),
  };
  return view.arrays;
}

function chosen() {
  const image = data.images[imageChoice.value];
  const network = image.networks[networkChoice.value];
  return { image, network, view: network.views[viewChoice.value] };
}

function fill(choice, names) {
  const before = choice.value;
  choice.replaceChildren(...names.map((name, i) => new Option(name, i)));
  choice.value = before && before < names.length ? before : 0;
}

function nearest(values, wanted) {
  let best = 0;
  values.forEach((value, i) => {
    if (Math.abs(value - wanted) < Math.abs(values[best] - wanted)) best = i;
  });
  return best;
}

// Indices of the grid row and column whose filter centres are nearest to the position.
function gridPosition(view) {
  const { centres } = arrays(view);
  const width = view.columns.length;
  return [
    nearest(view.rows.map((_, row) => centres[2 * row * width]), position[0]),
    nearest(view.columns.map((_, column) => centres[2 * column + 1]), position[1]),
  ];
}

function viewName(view) {
  if (view.levels === 1) return `${view.layer}: 9 samples`;
  return `${view.layer}, ${view.levels} levels: ${9 ** view.levels} samples`;
}

function showImage() {
  const { image } = chosen();
  const [height, width] = image.size;
  const margin = MARGIN * Math.max(height, width);
  scene.setAttribute("viewBox", `${-margin} ${-margin} ${width + 2 * margin} ${height + 2 * margin}`);
  picture.setAttribute("href", image.picture);
  for (const element of [picture, frame]) {
    element.setAttribute("width", width);
    element.setAttribute("height", height);
  }
}

function draw() {
  const { view } = chosen();
  const { points: coordinates, weights, dilation, centres } = arrays(view);
  const [row, column] = gridPosition(view);
  const index = row * view.columns.length + column;
  const count = 9 ** view.levels;
  const matrix = scene.getScreenCTM();
  const pixel = 1 / (matrix ? matrix.a : 1);
  const radius = (count > 100 ? 2.2 : 4) * pixel;
  const circles = [];
  let outside = 0;
  for (let i = index * count; i < (index + 1) * count; i++) {
    const circle = document.createElementNS(scene.namespaceURI, "circle");
    // Pixel centres have whole coordinates, so the edge of the image is at -0.5.
    circle.setAttribute("cy", coordinates[2 * i] * view.step + 0.5);
    circle.setAttribute("cx", coordinates[2 * i + 1] * view.step + 0.5);
    circle.setAttribute("r", radius);
    if (weights[i] === 0) {
      circle.setAttribute("class", "outside");
      outside += 1;
    } else {
      circle.setAttribute("fill-opacity", 0.25 + 0.75 * weights[i] / 255);
    }
    circles.push(circle);
  }
  points.replaceChildren(...circles);
  const [y, x] = [centres[2 * index] + 0.5, centres[2 * index + 1] + 0.5];
  const arm = 9 * pixel;
  unit.setAttribute("d", `M${x - arm} ${y}H${x + arm}M${x} ${y - arm}V${y + arm}`);
  description.textContent = `${view.layer}, unit in row ${view.rows[row]}, column ${view.columns[column]} of ` +
    `${view.map[0]} x ${view.map[1]}, at y ${Math.round(y - 0.5)}, x ${Math.round(x - 0.5)}: ` +
    `effective dilation ${dilation[index].toFixed(2)} cells; ` +
    `${outside} of ${count} samples fall outside the feature map.`;
}

// Moves to a unit of the grid, clipped to the grid, and to the centre of its filter.
function goTo(row, column) {
  const { view } = chosen();
  const { centres } = arrays(view);
  const [i, j] = [[row, view.rows], [column, view.columns]]
    .map(([index, cells]) => Math.min(Math.max(index, 0), cells.length - 1));
  const unit = i * view.columns.length + j;
  position = [centres[2 * unit], centres[2 * unit + 1]];
  draw();
}

scene.addEventListener("click", (event) => {
  const point = new DOMPoint(event.clientX, event.clientY).matrixTransform(scene.getScreenCTM().inverse());
  const { size } = chosen().image;
  position = [point.y, point.x].map((value, axis) => Math.min(Math.max(value - 0.5, 0), size[axis] - 1));
  draw();
});

scene.addEventListener("keydown", (event) => {
  const step = { ArrowUp: [-1, 0], ArrowDown: [1, 0], ArrowLeft: [0, -1], ArrowRight: [0, 1] }[event.key];
  if (!step || event.ctrlKey || event.altKey || event.metaKey) return;
  event.preventDefault();
  const { view } = chosen();
  const [row, column] = gridPosition(view);
  goTo(row + step[0], column + step[1]);
});

function choose() {
  const image = data.images[imageChoice.value];
  fill(networkChoice, image.networks.map((network) => network.name));
  fill(viewChoice, image.networks[networkChoice.value].views.map(viewName));
  showImage();
  draw();
}

fill(imageChoice, data.images.map((image) => image.name));
imageChoice.addEventListener("change", () => {
  const { size } = data.images[imageChoice.value];
  position = size.map((length) => (length - 1) / 2);
  choose();
});
networkChoice.addEventListener("change", choose);
viewChoice.addEventListener("change", draw);
window.addEventListener("resize", draw);
position = data.images[0].size.map((length) => (length - 1) / 2);
choose();
