// Scales of charts: round steps, times of the viewer's zone, and a top that one spike does not set.

import { day, hourAndMinute, time } from "./format.js";

const MINUTE_MS = 60_000, HOUR_MS = 60 * MINUTE_MS, DAY_MS = 24 * HOUR_MS;
const TIME_STEPS_MS = [
  10_000, 30_000, ...[1, 2, 5, 10, 15, 30].map((n) => n * MINUTE_MS), ...[1, 2, 3, 6, 12].map((n) => n * HOUR_MS), DAY_MS, 2 * DAY_MS,
];
// A value this many times higher than almost all others is a spike.
const SPIKE_FACTOR = 4;
const USUAL_SHARE = 0.9;

// The highest value that a chart shows in full. `above`: how many values are higher.
export function usualTop(values) {
  const sorted = values.filter((value) => value > 0).sort((a, b) => a - b);
  if (!sorted.length) return { top: 0, above: 0, highest: 0 };
  const highest = sorted.at(-1);
  // With few values a high one says nothing about the others.
  if (sorted.length < 8) return { top: highest, above: 0, highest };
  const usual = sorted[Math.min(sorted.length - 2, Math.floor(sorted.length * USUAL_SHARE))];
  const limit = SPIKE_FACTOR * Math.max(usual, sorted[Math.floor(sorted.length / 2)]);
  if (highest <= limit) return { top: highest, above: 0, highest };
  const shown = sorted.filter((value) => value <= limit);
  return { top: shown.at(-1), above: sorted.length - shown.length, highest };
}

// Round values from `low` to at least `high`, about `wanted` of them.
export function ticks(low, high, wanted) {
  const rough = (high - low || 1) / Math.max(1, wanted);
  const size = 10 ** Math.floor(Math.log10(rough));
  const step = [1, 2, 2.5, 5, 10].find((factor) => factor * size >= rough * 0.999) * size;
  const first = Math.floor(low / step + 1e-9), last = Math.ceil(high / step - 1e-9);
  const decimals = Math.max(0, -Math.floor(Math.log10(step) + 1e-9) + (step / size === 2.5 ? 1 : 0));
  const values = [];
  for (let n = first; n <= Math.max(last, first + 1); n++) values.push(Number((n * step).toFixed(decimals)));
  return { values, decimals };
}

// Instants at round local times; `wanted`: how many at most.
export function timeTicks(start, end, wanted) {
  const step = TIME_STEPS_MS.find((size) => (end - start) / size <= wanted) ?? TIME_STEPS_MS.at(-1);
  const zone = -new Date(start).getTimezoneOffset() * MINUTE_MS;
  const found = [];
  for (let at = Math.ceil((start + zone) / step) * step - zone; at <= end; at += step) found.push(at);
  return found.map((at) => ({ at, label: timeLabel(at, step) }));
}

export function timeLabel(at, step) {
  const local = new Date(at);
  if (step >= DAY_MS || (step >= HOUR_MS && local.getHours() === 0)) return day(local);
  return step < MINUTE_MS ? time(local) : hourAndMinute(local);
}

// Inserts a null where a point is missing, so that a chart shows a gap and no slope.
// `longest`: the longest distance between neighbours that belong together.
export function withGaps(x, y, longest) {
  const times = [], values = [];
  for (let n = 0; n < x.length; n++) {
    if (n && x[n] - x[n - 1] > longest) {
      times.push((x[n] + x[n - 1]) / 2);
      values.push(null);
    }
    times.push(x[n]);
    values.push(y[n]);
  }
  return [times, values];
}

// The usual distance of neighbours; `least` if there are too few to tell.
export function rhythm(x, least) {
  if (x.length < 3) return least;
  const distances = x.slice(1).map((at, n) => at - x[n]).sort((a, b) => a - b);
  return Math.max(least, distances[distances.length >> 1]);
}
