// Lines over time (uPlot), and bars of 15 minutes, which are plain SVG so that each can be pointed at.

import uPlot from "./vendor/uplot/uPlot.esm.js";
import { colour, dayAndTime, element } from "./format.js";

const SVG = "http://www.w3.org/2000/svg";
const SLOT_MS = 900_000;

// A small line without axes; `update([x…], [y…])`, x in seconds.
export class Spark {
  #plot = null; #box; #height = 34;

  constructor(box) {
    this.#box = box;
    new ResizeObserver(() => this.#plot?.setSize({ width: box.clientWidth, height: this.#height })).observe(box);
  }

  update(x, y) {
    if (this.#plot) return this.#plot.setData([x, y]);
    const width = this.#box.clientWidth || 160;
    const series = [{}, { stroke: () => colour("accent"), width: 1.5, fill: () => colour("accent-soft"), points: { show: false } }];
    const y_scale = { range: (_, low, high) => [Math.min(0, low ?? 0), Math.max(1e-9, high ?? 1) * 1.08] };
    this.#plot = new uPlot(
      { width, height: this.#height, padding: [2, 0, 2, 0], legend: { show: false }, cursor: { show: false }, axes: [{ show: false }, { show: false }], scales: { x: { time: true }, y: y_scale }, series },
      [x, y], this.#box,
    );
  }

  recolour() { this.#plot?.redraw(); }
}

// Power over time, with axes in the viewer's zone.
export class PowerCurve {
  #plot = null; #box; #height = 190;

  constructor(box) {
    this.#box = box;
    new ResizeObserver(() => this.#plot?.setSize({ width: box.clientWidth, height: this.#height })).observe(box);
  }

  update(x, y) {
    if (this.#plot) return this.#plot.setData([x, y]);
    const axis = { stroke: () => colour("muted"), grid: { stroke: () => colour("line"), width: 1 }, ticks: { show: false }, font: "12px system-ui" };
    const kw = (_, values) => values.map((w) => (Math.abs(w) >= 1000 ? `${w / 1000} kW` : `${w} W`));
    this.#plot = new uPlot(
      {
        width: this.#box.clientWidth || 480, height: this.#height, legend: { show: false }, cursor: { y: false, drag: { x: false } },
        axes: [axis, { ...axis, size: 60, values: kw }],
        scales: { y: { range: (_, low, high) => [Math.min(0, low ?? 0), Math.max(10, high ?? 0) * 1.08] } },
        series: [{}, { stroke: () => colour("accent"), width: 2, fill: () => colour("accent-soft"), points: { show: false } }],
      },
      [x, y], this.#box,
    );
  }

  recolour() { this.#plot?.redraw(); }
}

// One bar per slot of the last 24 hours. `bars`: Map from slot start (ms) to {height, kind, title}; `line`: heights that a line joins.
export function drawBars(box, bars, line = new Map()) {
  const end = Math.ceil(Date.now() / SLOT_MS) * SLOT_MS, start = end - 96 * SLOT_MS;
  const picture = svg("svg", { viewBox: "0 0 960 120", preserveAspectRatio: "none", role: "img", "aria-label": summary(bars) });
  const most = Math.max(1e-9, ...[...bars.values()].map((bar) => bar.height));
  for (const [at, bar] of bars) {
    if (at < start || at >= end) continue;
    const height = Math.max(bar.height > 0 ? 2 : 4, (110 * bar.height) / most);
    const made = svg("rect", { x: (10 * (at - start)) / SLOT_MS + 1, y: 118 - height, width: 8, height, class: `bar ${bar.kind}`, "data-slot": new Date(at).toISOString() });
    const title = svg("title", {});
    title.textContent = `${dayAndTime(at)}: ${bar.title}`;
    made.append(title);
    picture.append(made);
  }
  if (line.size > 1) picture.append(priceLine(line, start));
  picture.append(svg("line", { x1: 0, x2: 960, y1: 118.5, y2: 118.5, class: "base" }));
  const ends = element("p", undefined, { class: "ends" });
  ends.append(element("span", dayAndTime(start)), element("span", "now"));
  box.replaceChildren(picture, ends);
}

function priceLine(line, start) {
  const values = [...line.values()], low = Math.min(...values), high = Math.max(...values);
  const points = [...line].filter(([at]) => at >= start).map(([at, value]) =>
    `${(10 * (at - start)) / SLOT_MS + 5},${high > low ? 100 - (90 * (value - low)) / (high - low) : 55}`);
  return svg("polyline", { points: points.join(" "), class: "price" });
}

function summary(bars) {
  const kinds = new Map();
  for (const bar of bars.values()) kinds.set(bar.kind, (kinds.get(bar.kind) ?? 0) + 1);
  return bars.size ? [...kinds].map(([kind, number]) => `${number} slots ${kind}`).join(", ") : "nothing yet";
}

function svg(name, attributes) {
  const made = document.createElementNS(SVG, name);
  for (const [key, value] of Object.entries(attributes)) made.setAttribute(key, value);
  return made;
}
