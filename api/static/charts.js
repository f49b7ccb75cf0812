// Charts over time: lines (uPlot) and bars of 15 minutes (SVG, so that each can be pointed at).

import uPlot from "./vendor/uplot/uPlot.esm.js";
import { colour, dayAndTime, element, fixed, rem } from "./format.js";
import { ticks, timeLabel, timeTicks, usualTop } from "./scales.js";

const SVG = "http://www.w3.org/2000/svg";
const SLOT_MS = 900_000;

// A line with axes. `unit`: of the values in the chart; `divide`: value of one unit.
export class LineChart {
  #plot = null; #box; #note; #unit; #divide; #kind; #range; #data = [[], []];

  constructor(box, { unit, divide = 1, kind = "" }) {
    this.#unit = unit;
    this.#divide = divide;
    this.#kind = kind;
    this.#note = element("p", "", { class: "note" });
    this.#box = element("div", undefined, { class: `line ${kind}` });
    box.append(this.#box, this.#note);
    new ResizeObserver(() => this.#plot?.setSize(this.#size())).observe(this.#box);
  }

  // `x` in seconds; null in `y` is a gap. `range`: first and last second that are shown.
  update(x, y, range) {
    this.#range = range;
    this.#data = [x, this.#divide === 1 ? y : y.map((value) => (value === null ? null : value / this.#divide))];
    const { top, above, highest } = usualTop(this.#data[1].filter((value) => value !== null));
    this.#note.textContent = above
      ? `▲ ${above === 1 ? "one value is" : `${above} values are`} above the chart, up to ${fixed(highest, highest >= 100 ? 0 : 1)} ${this.#unit}`
      : "";
    this.top = top;
    if (this.#plot) this.#plot.setData(this.#data);
    else this.#plot = new uPlot(this.#options(), this.#data, this.#box);
  }

  recolour() { this.#plot?.redraw(false); }

  #size() {
    return { width: this.#box.clientWidth || 320, height: this.#box.clientHeight || 96 };
  }

  #options() {
    const em = rem(), font = `${Math.round(0.72 * em)}px system-ui, sans-serif`;
    const axis = { stroke: () => colour("muted"), grid: { stroke: () => colour("line"), width: 1 }, ticks: { show: false }, font, gap: 4 };
    const small = this.#kind === "small";
    return {
      ...this.#size(), padding: [0.5 * em, 1.4 * em, 0, 0], legend: { show: false },
      cursor: { y: false, x: true, points: { size: 6 }, drag: { x: false, y: false } },
      axes: [
        { ...axis, size: 1.5 * em, space: (small ? 3.2 : 5) * em, values: (_, splits, __, ___, step) => splits.map((at) => timeLabel(1000 * at, 1000 * step)) },
        {
          ...axis, size: (small ? 2.7 : 3.1) * em, space: 1.6 * em,
          splits: (_, __, low, high) => ticks(low, high, small ? 2 : 4).values.filter((value) => value <= high * 1.001),
          values: (_, splits) => label(splits, this.#unit),
        },
      ],
      scales: {
        x: { range: (_, low, high) => this.#range ?? [low ?? 0, high ?? 1] },
        y: { range: (_, low) => [Math.min(0, low ?? 0), ticks(0, (this.top || 1) * 1.05, small ? 2 : 4).values.at(-1)] },
      },
      series: [{}, {
        stroke: () => colour("accent"), width: small ? 1.5 : 2, fill: () => colour("accent-soft"),
        points: { show: true, size: 4, width: 0, fill: () => colour("accent"), filter: alone },
      }],
      hooks: { setCursor: [(plot) => this.#point(plot)] },
    };
  }

  #point({ cursor: { idx } }) {
    const [x, y] = this.#data;
    const said = idx === null || idx === undefined || y[idx] === null || y[idx] === undefined ? "" : `${dayAndTime(1000 * x[idx])}: ${fixed(y[idx], 2)} ${this.#unit}`;
    this.#box.title = said;
  }
}

// Labels of an axis: the highest carries the unit.
function label(splits, unit) {
  const decimals = splits.length > 1 ? Math.min(3, Math.max(0, Math.ceil(-Math.log10(splits[1] - splits[0]) - 1e-9) + (String(splits[1] - splits[0]).includes("25") ? 1 : 0))) : 0;
  const high = splits.at(-1) >= 1000;
  const number = (value) => (high && value ? `${fixed(value / 1000, value % 1000 ? 1 : 0)}k` : fixed(value, decimals));
  return splits.map((value, n) => number(value) + (n === splits.length - 1 && unit ? ` ${unit}` : ""));
}

// Indices of points without a neighbour: a line does not show them.
function alone({ data: [, y] }) {
  const found = [];
  for (let n = 0; n < y.length; n++) if (y[n] !== null && (y[n - 1] ?? null) === null && (y[n + 1] ?? null) === null) found.push(n);
  return found;
}

// One bar per slot, and optionally a line of another unit over them.
export class SlotChart {
  #box; #note; #unit; #lineUnit; #name; #drawn = null;

  constructor(box, { unit, lineUnit = null, name }) {
    this.#box = element("div", undefined, { class: "slots" });
    this.#note = element("p", "", { class: "note" });
    box.append(this.#box, this.#note);
    this.#unit = unit;
    this.#lineUnit = lineUnit;
    this.#name = name;
    new ResizeObserver(() => this.#drawn && this.draw(...this.#drawn)).observe(this.#box);
  }

  // `bars`: Map from the start of a slot (ms) to {height, kind, title}; `line`: Map from it to a value.
  draw(now, bars, line = new Map()) {
    this.#drawn = [now, bars, line];
    const end = Math.ceil(now / SLOT_MS) * SLOT_MS, start = end - 96 * SLOT_MS;
    const shown = [...bars].filter(([at]) => at >= start && at < end).sort(([a], [b]) => a - b);
    const { top, above, highest } = usualTop(shown.map(([, bar]) => bar.height));
    this.#note.textContent = above ? `▲ ${above === 1 ? "one slot is" : `${above} slots are`} above the chart, up to ${fixed(highest, 2)} ${this.#unit}` : "";
    const em = rem(), width = this.#box.clientWidth || 480, height = this.#box.clientHeight || 8 * em;
    const frame = { left: 2.9 * em, right: width - (this.#lineUnit ? 2.9 : 0.5) * em, top: 1.3 * em, bottom: height - 1.4 * em };
    const scale = ticks(0, top || 1, Math.max(2, Math.floor((frame.bottom - frame.top) / (2.2 * em))));
    const y = (value) => frame.bottom - ((frame.bottom - frame.top) * value) / scale.values.at(-1);
    const x = (at) => frame.left + ((frame.right - frame.left) * (at - start)) / (end - start);
    const picture = svg("svg", { width, height, viewBox: `0 0 ${width} ${height}`, role: "img", "aria-label": `${this.#name}: ${summary(bars)}` });
    for (const value of scale.values) {
      picture.append(svg("line", { x1: frame.left, x2: frame.right, y1: y(value), y2: y(value), class: value ? "grid" : "base" }));
      picture.append(text(fixed(value, Math.min(3, scale.decimals)), frame.left - 0.35 * em, y(value), "end"));
    }
    picture.append(text(this.#unit, frame.left - 0.35 * em, 0.55 * em, "end"));
    for (const { at, label: name } of timeTicks(start, end, Math.floor((frame.right - frame.left) / (4.2 * em))))
      picture.append(text(name, x(at), height - 0.55 * em, "middle"));
    const wide = (x(start + SLOT_MS) - x(start));
    for (const [at, bar] of shown) picture.append(this.#bar(at, bar, { x: x(at), wide, y, frame, top: scale.values.at(-1) }));
    if (this.#lineUnit) picture.append(...this.#price(line, { start, end, x, frame, em }));
    this.#box.replaceChildren(picture);
  }

  // Zero is no bar. Where there is no value, a band over the whole height says so.
  #bar(at, bar, { x, wide, y, frame, top }) {
    const group = svg("g", {});
    const unknown = bar.kind === "missing" || bar.kind === "rejected";
    const low = unknown ? frame.top : Math.max(frame.top, y(Math.min(bar.height, top)));
    group.append(svg("rect", {
      x: x + 0.08 * wide, y: low, width: 0.84 * wide, height: Math.max(0, frame.bottom - low), class: `bar ${bar.kind}`, "data-slot": new Date(at).toISOString(),
    }));
    if (!unknown && bar.height > top) group.append(svg("path", { d: `M${x + wide / 2 - 4} ${frame.top} l4 -6 l4 6 z`, class: "above" }));
    const title = svg("title", {});
    title.textContent = `${dayAndTime(at)}: ${bar.title}`;
    group.firstChild.append(title);
    return group;
  }

  // Level in each slot, and interrupted where a slot has no value.
  #price(line, { start, end, x, frame, em }) {
    const shown = [...line].filter(([at]) => at >= start && at < end).sort(([a], [b]) => a - b);
    if (!shown.length) return [];
    const values = shown.map(([, value]) => value), low = Math.min(...values), high = Math.max(...values);
    const scale = ticks(low, high, 2);
    const from = scale.values[0], to = scale.values.at(-1);
    const y = (value) => frame.bottom - ((frame.bottom - frame.top) * (value - from)) / (to - from);
    let path = "", before = null;
    for (const [at, value] of shown) {
      path += `${before === at - SLOT_MS ? "L" : "M"}${x(at)} ${y(value)} H${x(at + SLOT_MS)} `;
      before = at;
    }
    const side = frame.right + 0.35 * em;
    return [
      svg("path", { d: path, class: "price halo" }), svg("path", { d: path, class: "price" }),
      ...scale.values.map((value) => text(fixed(value, Math.min(3, scale.decimals)), side, y(value), "start", "right")),
      text(this.#lineUnit, side, 0.55 * em, "start", "right"),
    ];
  }
}

function text(content, x, y, anchor, kind = "") {
  const made = svg("text", { x, y, "text-anchor": anchor, class: `axis ${kind}` });
  made.textContent = content;
  return made;
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
