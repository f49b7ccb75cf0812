// Where markers and labels of the map stand, so that none covers another. Pixels of the whole world.

const CELL_EM = 4;
// Groups stand nearer to the middle of their cell than their points do, so that neighbours have room.
const PULL = 0.25;
const SPREAD_FROM_ZOOM = 17;
const SPREAD_MAX = 80;
const GOLDEN_ANGLE = 2.39996;

// Mercator coordinates of a place, each from 0 to 1.
export function mercator(latitude, longitude) {
  const sine = Math.sin((Math.max(-85, Math.min(85, latitude)) * Math.PI) / 180);
  return [longitude / 360 + 0.5, 0.5 - Math.log((1 + sine) / (1 - sine)) / (4 * Math.PI)];
}

// Groups points that would cover each other. A point: {x, y} in Mercator coordinates. A group: {x, y}
// and `radius` in pixels of the world at `scale`, and its `points`.
export function grouped(points, scale, zoom, em) {
  const size = CELL_EM * em;
  const cells = new Map();
  for (const point of points) {
    const x = point.x * scale, y = point.y * scale;
    const key = `${Math.floor(x / size)}:${Math.floor(y / size)}`;
    const cell = cells.get(key);
    if (cell) join(cell, x, y, [point]);
    else cells.set(key, { x, y, points: [point] });
  }
  for (const group of cells.values()) {
    if (group.points.length === 1) continue;
    group.x = pulled(group.x, size);
    group.y = pulled(group.y, size);
  }
  let groups = [...cells.values()];
  for (let pass = 0; pass < 4; pass++) {
    const before = groups.length;
    groups = merged(groups, em);
    if (groups.length === before) break;
  }
  if (zoom >= SPREAD_FROM_ZOOM) groups = groups.flatMap((group) => spread(group, em));
  for (const group of groups) group.radius = radiusOf(group, em);
  return groups;
}

function pulled(at, size) {
  const middle = (Math.floor(at / size) + 0.5) * size;
  return middle + PULL * (at - middle);
}

function join(group, x, y, points) {
  const all = group.points.length + points.length;
  group.x += ((x - group.x) * points.length) / all;
  group.y += ((y - group.y) * points.length) / all;
  group.points = [...group.points, ...points];
}

// Of a single marker, whose size changes with its power, the room that the largest needs.
function radiusOf(group, em) {
  const number = group.points.length;
  return number === 1 ? 0.75 * em : em * (0.85 + 0.17 * Math.log10(number));
}

// Joins groups that overlap. Neighbours are found by a grid as wide as the largest marker.
function merged(groups, em) {
  const size = 4 * em, grid = new Map(), kept = [];
  for (const group of [...groups].sort((a, b) => b.points.length - a.points.length)) {
    const column = Math.floor(group.x / size), line = Math.floor(group.y / size);
    const near = [];
    for (let c = column - 1; c <= column + 1; c++) for (let l = line - 1; l <= line + 1; l++) near.push(...(grid.get(`${c}:${l}`) ?? []));
    const reach = radiusOf(group, em) + 0.25 * em;
    const other = near.find((one) => Math.hypot(one.x - group.x, one.y - group.y) < reach + radiusOf(one, em));
    if (other) {
      // A group stays where it is, or it might reach others.
      if (other.points.length > 1) other.points = [...other.points, ...group.points];
      else join(other, group.x, group.y, group.points);
      continue;
    }
    kept.push(group);
    const key = `${column}:${line}`;
    grid.set(key, [...(grid.get(key) ?? []), group]);
  }
  return kept;
}

// Points at one place, side by side around it.
function spread(group, em) {
  if (group.points.length === 1 || group.points.length > SPREAD_MAX) return [group];
  return group.points.map((point, n) => {
    const distance = 1.5 * em * Math.sqrt(n + 0.5), angle = n * GOLDEN_ANGLE;
    return { x: group.x + distance * Math.cos(angle), y: group.y + distance * Math.sin(angle), points: [point] };
  });
}

// Boxes that are taken. A grid keeps the search short.
export class TakenBoxes {
  #grid = new Map(); #size;

  constructor(size) { this.#size = size; }

  add(box) { this.#cells(box, (key) => this.#grid.set(key, [...(this.#grid.get(key) ?? []), box])); }

  // Takes a box {left, top, right, bottom} unless it touches another.
  take(box) {
    let free = true;
    this.#cells(box, (key) => {
      for (const other of this.#grid.get(key) ?? [])
        if (box.left < other.right && other.left < box.right && box.top < other.bottom && other.top < box.bottom) free = false;
    });
    if (free) this.add(box);
    return free;
  }

  #cells({ left, top, right, bottom }, use) {
    for (let c = Math.floor(left / this.#size); c <= Math.floor(right / this.#size); c++)
      for (let l = Math.floor(top / this.#size); l <= Math.floor(bottom / this.#size); l++) use(`${c}:${l}`);
  }
}

// Finds a free place in view for a label of a marker: below, above, to the right, to the left; else null.
export function labelPlace(taken, view, { x, y, radius }, width, height, gap) {
  const places = [
    [x - width / 2, y + radius + gap], [x - width / 2, y - radius - gap - height],
    [x + radius + gap, y - height / 2], [x - radius - gap - width, y - height / 2],
  ];
  for (const [left, top] of places) {
    const box = { left, top, right: left + width, bottom: top + height };
    const inside = box.left >= 1 && box.top >= 1 && box.right < view.width && box.bottom < view.height;
    if (inside && taken.take(box)) return box;
  }
  return null;
}
