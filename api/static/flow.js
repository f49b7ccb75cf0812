// The flow of readings and events, second by second, and the identity of the readings' counts.

import { LineChart } from "./charts.js";
import { count, element, few } from "./format.js";
import { withGaps } from "./scales.js";

const RATES = ["received", "stored", "duplicate", "rejected"];
const LINES = [
  ...RATES.map((name) => ({ label: `readings ${name}`, unit: "/s", of: (now, before, s) => (now[name] - before[name]) / s })),
  { label: "events published", unit: "/s", of: (now, _, s) => now.events / s },
  { label: "sockets", unit: "", of: (now) => now.sockets },
  { label: "outbox age", unit: "s", of: (now) => now.outbox_age_s },
  { label: "commit → socket, p99", unit: "ms", of: (now) => now.commit_to_socket_p99_ms },
];
const SPAN_S = 900;
// A sample is written each second. After this time without one the line is interrupted.
const GAP_S = 5;

export class Flow {
  #identity; #lines;

  constructor(box, identity) {
    this.#identity = identity;
    this.#lines = LINES.map((line) => {
      const figure = element("figure"), value = element("b", "–"), caption = element("figcaption");
      caption.append(element("span", line.label), value);
      const picture = element("div", undefined, { role: "img", "aria-label": `${line.label}, last 15 minutes` });
      figure.append(caption, picture);
      box.append(figure);
      return { ...line, value, chart: new LineChart(picture, { unit: line.unit, kind: "small" }) };
    });
  }

  // Samples have the real time, also where the hub's clock runs faster.
  show(samples) {
    if (samples.length < 2) return;
    this.#equation(samples.at(-1));
    const times = samples.map((sample) => Date.parse(sample.time) / 1000);
    const range = [times.at(-1) - SPAN_S, times.at(-1)];
    for (const line of this.#lines) {
      const values = samples.slice(1).map((sample, n) => {
        const elapsed_s = times[n + 1] - times[n];
        // Over a gap there is no rate.
        return elapsed_s > GAP_S ? null : (line.of(sample, samples[n], Math.max(0.1, elapsed_s)) ?? null);
      });
      line.chart.update(...withGaps(times.slice(1), values, GAP_S), range);
      line.value.textContent = `${few(recent(values))} ${line.unit}`.trim();
    }
  }

  // received = stored + duplicate + rejected, of all devices since their registration.
  #equation({ received, stored, duplicate, rejected }) {
    const holds = received === stored + duplicate + rejected;
    this.#identity.textContent =
      `${count(received)} received ${holds ? "=" : "≠"} ${count(stored)} stored + ${count(duplicate)} duplicate + ${count(rejected)} rejected` +
      (holds ? "" : ": readings are missing");
    this.#identity.className = holds ? "holds" : "broken";
  }

  recolour() { for (const line of this.#lines) line.chart.recolour(); }
}

// The mean of the last seconds: single ones vary.
function recent(values) {
  const known = values.slice(-5).filter((value) => value !== null);
  return known.length ? known.reduce((sum, value) => sum + value, 0) / known.length : null;
}
