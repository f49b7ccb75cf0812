// The ground of the map where there are no tiles: land and sea, homes per area, place names, degrees.

import { mercator } from "./map_layout.js";

const LAND = "/static/vendor/world-atlas/land-50m.json";
const PLACES = "/static/vendor/geonames/places.json";
const HEXAGON_EM = 3.4;
const LARGE_THOUSANDS = 1000;
const BESIDE_EM = [0, -1.6, 1.6, -3.2, 3.2, -4.8, 4.8];

export class MapBase {
  #rings = []; #places = []; #loaded;

  // `loaded` is called when there is more to draw.
  constructor(loaded) { this.#loaded = loaded; }

  async load() {
    const [land, places] = await Promise.all([LAND, PLACES].map((url) => fetch(url).then((answer) => answer.json())));
    this.#rings = ringsOf(land);
    this.#places = places.map(([name, latitude, longitude, thousands]) => ({ name, thousands, at: mercator(latitude, longitude) }));
    this.#loaded();
  }

  drawLand(context, view, colours) {
    context.fillStyle = colours.sea;
    context.fillRect(0, 0, view.width, view.height);
    context.fillStyle = colours.land;
    context.strokeStyle = colours.coast;
    context.lineWidth = 1;
    for (const ring of this.#rings) {
      if (!inView(ring.box, view)) continue;
      const { points } = ring;
      context.beginPath();
      for (let n = 0; n < points.length; n += 2) context.lineTo(points[n] * view.scale - view.left, points[n + 1] * view.scale - view.top);
      context.closePath();
      context.fill();
      context.stroke();
    }
  }

  // Shades hexagons by how many homes they hold. They keep their place while the map is moved.
  drawDensity(context, view, points, colours) {
    const size = HEXAGON_EM * view.em, wide = Math.sqrt(3) * size;
    const counts = new Map();
    for (const { x, y, device } of points) {
      if (!device) continue;
      const [column, line] = hexagon(x * view.scale, y * view.scale, size);
      const key = `${column}:${line}`;
      counts.set(key, (counts.get(key) ?? 0) + 1);
    }
    const most = Math.max(4, ...counts.values());
    context.fillStyle = colours.accent;
    for (const [key, number] of counts) {
      const [column, line] = key.split(":").map(Number);
      const x = wide * (column + (line & 1) / 2) - view.left, y = 1.5 * size * line - view.top;
      if (x < -wide || y < -2 * size || x > view.width + wide || y > view.height + 2 * size) continue;
      context.globalAlpha = 0.06 + 0.16 * Math.sqrt(number / most);
      context.beginPath();
      for (let corner = 0; corner < 6; corner++) {
        const angle = (Math.PI / 3) * corner + Math.PI / 6;
        context.lineTo(x + (size - 1) * Math.cos(angle), y + (size - 1) * Math.sin(angle));
      }
      context.fill();
    }
    context.globalAlpha = 1;
  }

  // Finds room for the names of places, the largest first, where nothing else stands.
  // `large`: of places that may stand beside their point; the others are left out where it is taken.
  namePlaces(context, view, taken, large) {
    let room = large ? 6 : (view.width * view.height) / (view.em * view.em * 110);
    const found = [], tall = 0.65 * view.em;
    for (const { name, thousands, at } of this.#places) {
      if (large !== thousands >= LARGE_THOUSANDS) continue;
      const x = at[0] * view.scale - view.left, y = at[1] * view.scale - view.top;
      if (x < 0 || y < 0 || x > view.width || y > view.height) continue;
      context.font = placeFont(large, view.em);
      const half = context.measureText(name).width / 2 + 0.3 * view.em;
      if (x < half || x > view.width - half || y < tall || y > view.height - tall) continue;
      const free = (large ? BESIDE_EM : [0]).map((shift) => y + shift * view.em)
        .find((middle) => taken.take({ left: x - half, right: x + half, top: middle - tall, bottom: middle + tall }));
      if (free === undefined) continue;
      found.push({ name, x, y: free, large });
      if (--room <= 0) break;
    }
    return found;
  }

  drawNames(context, view, names, colours) {
    context.textAlign = "center";
    context.textBaseline = "middle";
    context.lineJoin = "round";
    context.strokeStyle = colours.land;
    context.lineWidth = 0.22 * view.em;
    context.fillStyle = colours.place;
    for (const { name, x, y, large } of names) {
      context.font = placeFont(large, view.em);
      context.strokeText(name, x, y);
      context.fillText(name, x, y);
    }
  }
}

const placeFont = (large, em) => `${large ? 600 : 400} ${(large ? 0.95 : 0.72) * em}px system-ui, sans-serif`;

// Meridians and parallels, at the edge with their degrees.
export function drawGraticule(context, view, taken, colours) {
  const step = stepOf((view.height / view.scale) * 360);
  const decimals = Math.max(0, Math.ceil(-Math.log10(step) - 1e-9));
  context.strokeStyle = colours.grid;
  context.fillStyle = colours.place;
  context.lineWidth = 1;
  context.font = `${0.66 * view.em}px system-ui, sans-serif`;
  context.textBaseline = "bottom";
  context.textAlign = "left";
  const { south, west, north, east } = view.bounds;
  const line = (ax, ay, bx, by) => { context.beginPath(); context.moveTo(ax, ay); context.lineTo(bx, by); context.stroke(); };
  const write = (text, x, y) => {
    const width = context.measureText(text).width;
    if (taken.take({ left: x, right: x + width, top: y - 0.8 * view.em, bottom: y })) context.fillText(text, x, y);
  };
  for (let degrees = Math.ceil(south / step) * step; degrees < north; degrees += step) {
    const y = Math.round(mercator(degrees, 0)[1] * view.scale - view.top) + 0.5;
    line(0, y, view.width, y);
    if (y > 6 * view.em && y < view.height - 2 * view.em) write(`${Math.abs(degrees).toFixed(decimals)}° ${degrees < 0 ? "S" : "N"}`, 4, y - 2);
  }
  for (let degrees = Math.ceil(west / step) * step; degrees < east; degrees += step) {
    const x = Math.round(mercator(0, degrees)[0] * view.scale - view.left) + 0.5;
    line(x, 0, x, view.height);
    if (x > 6 * view.em && x < view.width - 12 * view.em) write(`${Math.abs(degrees).toFixed(decimals)}° ${degrees < 0 ? "W" : "E"}`, x + 3, view.height - 3);
  }
}

function stepOf(span) {
  const steps = [30, 10, 5, 2, 1, 0.5, 0.2, 0.1, 0.05, 0.02, 0.01, 0.005, 0.002, 0.001];
  return steps.find((step) => span / step >= 4) ?? steps.at(-1);
}

function inView(box, view) {
  return box.right * view.scale > view.left && box.left * view.scale < view.left + view.width &&
    box.bottom * view.scale > view.top && box.top * view.scale < view.top + view.height;
}

// The hexagon (pointed at the top) that holds a pixel: of the two nearest lines the nearer centre.
function hexagon(x, y, size) {
  const wide = Math.sqrt(3) * size, tall = 1.5 * size;
  const near = [Math.floor(y / tall), Math.ceil(y / tall)].map((line) => {
    const column = Math.round(x / wide - (line & 1) / 2);
    return { column, line, distance: Math.hypot(wide * (column + (line & 1) / 2) - x, tall * line - y) };
  });
  const { column, line } = near[0].distance <= near[1].distance ? near[0] : near[1];
  return [column, line];
}

// Outer rings of the land of a TopoJSON file, in Mercator coordinates.
function ringsOf({ arcs, objects, transform }) {
  const { scale, translate } = transform;
  const decoded = arcs.map((arc) => {
    let x = 0, y = 0;
    return arc.map(([dx, dy]) => [(x += dx) * scale[0] + translate[0], (y += dy) * scale[1] + translate[1]]);
  });
  const line = (index) => (index < 0 ? [...decoded[~index]].reverse() : decoded[index]);
  const polygons = objects.land.geometries.flatMap(({ type, arcs: parts }) => (type === "Polygon" ? [parts] : parts));
  return polygons.map(([outer]) => {
    const places = outer.flatMap((index, n) => (n ? line(index).slice(1) : line(index)));
    const points = new Float64Array(2 * places.length), box = { left: 1, top: 1, right: 0, bottom: 0 };
    places.forEach(([longitude, latitude], n) => {
      const [x, y] = mercator(latitude, longitude);
      points[2 * n] = x;
      points[2 * n + 1] = y;
      box.left = Math.min(box.left, x);
      box.right = Math.max(box.right, x);
      box.top = Math.min(box.top, y);
      box.bottom = Math.max(box.bottom, y);
    });
    return { points, box };
  });
}
