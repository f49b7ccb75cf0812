// How readings and events flow, second by second, and whether the identity of readings holds.

import { Spark } from "./charts.js";
import { count, element, few } from "./format.js";

const RATES = ["received", "stored", "duplicate", "rejected"];
const LINES = [
  ...RATES.map((name) => ({ label: name, unit: "/s", of: (now, before, s) => (now[name] - before[name]) / s })),
  { label: "events", unit: "/s", of: (now, _, s) => now.events / s },
  { label: "sockets", unit: "", of: (now) => now.sockets },
  { label: "outbox age", unit: " s", of: (now) => now.outbox_age_s },
  { label: "commit → socket, p99", unit: " ms", of: (now) => now.commit_to_socket_p99_ms },
];

export class Flow {
  #identity; #lines;

  constructor(box, identity) {
    this.#identity = identity;
    this.#lines = LINES.map((line) => {
      const figure = element("figure"), value = element("b", "–"), caption = element("figcaption");
      caption.append(element("span", line.label), value);
      const picture = element("div", undefined, { "aria-hidden": "true" });
      figure.append(caption, picture);
      box.append(figure);
      return { ...line, value, spark: new Spark(picture) };
    });
  }

  show(samples) {
    if (samples.length < 2) return;
    this.#equation(samples.at(-1));
    const times = samples.map((sample) => Date.parse(sample.time) / 1000);
    for (const line of this.#lines) {
      const values = samples.slice(1).map((now, n) => line.of(now, samples[n], Math.max(0.1, times[n + 1] - times[n])) ?? null);
      line.spark.update(times.slice(1), values);
      line.value.textContent = few(recent(values)) + line.unit;
    }
  }

  // received = stored + duplicate + rejected, of all devices since ever.
  #equation({ received, stored, duplicate, rejected }) {
    const holds = received === stored + duplicate + rejected;
    this.#identity.textContent =
      `${count(received)} received ${holds ? "=" : "≠"} ${count(stored)} stored + ${count(duplicate)} duplicate + ${count(rejected)} rejected` +
      (holds ? "" : ": readings are missing");
    this.#identity.className = holds ? "holds" : "broken";
  }

  recolour() { for (const line of this.#lines) line.spark.recolour(); }
}

// The mean of the last seconds that told: single ones jump.
function recent(values) {
  const told = values.slice(-5).filter((value) => value !== null);
  return told.length ? told.reduce((sum, value) => sum + value, 0) / told.length : null;
}
