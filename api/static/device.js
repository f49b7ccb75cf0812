// One device: its power, the energy counted of it, what was refused, what it offers and sold.

import { drawBars, PowerCurve } from "./charts.js";
import { DeviceDecisions } from "./decisions.js";
import { count, dayAndTime, element, facts, row, time, watts } from "./format.js";

const HOUR_MS = 3_600_000;
const SPANS = {
  hour: { ms: HOUR_MS, query: "resolution=raw&limit=10000" },
  day: { ms: 24 * HOUR_MS, query: "resolution=15m&limit=200" },
  week: { ms: 7 * 24 * HOUR_MS, query: "resolution=1h&limit=200" },
};
const REFRESH_MS = 15_000;
const $ = (id) => document.getElementById(id);

export class DeviceView {
  #session; #state; #curve; #id = null; #span = "hour"; #power = [[], []]; #timer = null; #opener = null; #turn = 0; #decisions;

  constructor(session, state, decided) {
    this.#session = session;
    this.#state = state;
    this.#decisions = new DeviceDecisions(session, decided);
    this.#curve = new PowerCurve($("power"));
    $("device-close").addEventListener("click", () => this.close());
    $("device-panel").addEventListener("keydown", (event) => event.key === "Escape" && this.close());
    for (const button of $("span").children) button.addEventListener("click", () => this.#choose(button.dataset.span));
  }

  open(id) {
    this.#opener = document.activeElement;
    this.#id = id;
    $("device-panel").hidden = false;
    $("room").classList.add("with-device");
    this.showFacts();
    this.#choose(this.#span);
    this.#refresh();
    clearInterval(this.#timer);
    this.#timer = setInterval(() => this.#refresh(), REFRESH_MS);
    $("device-panel").focus();
  }

  close() {
    this.#id = null;
    clearInterval(this.#timer);
    $("device-panel").hidden = true;
    $("room").classList.remove("with-device");
    this.#opener?.focus?.();
  }

  showFacts() {
    const device = this.#state.devices.get(this.#id);
    if (!device) return;
    $("device-title").textContent = device.name;
    facts($("device-facts"), [
      ["status", device.fault_code ? `${device.status} (${device.fault_code})` : device.status],
      ["power", watts(device.power_w)],
      ["peak", watts(device.capacity_w)],
      ["speaks", device.dialect],
      ["kind", device.kind],
      ["last heard", device.last_seen_at ? dayAndTime(device.last_seen_at) : "never"],
    ]);
    const own = [...this.#state.listings.values()].find((listing) => listing.device_id === this.#id);
    $("offer").textContent = own
      ? `${Number(own.energy_amount_kwh).toFixed(3)} kWh at ₹${Number(own.price_per_kwh).toFixed(2)}, ${Number(own.sold_kwh).toFixed(3)} kWh sold${own.auto_adjust ? "; follows the meter" : ""}.`
      : "Nothing on offer.";
  }

  // The newest power, as the feed tells it: while the last hour is shown it grows by it.
  showPower() {
    const device = this.#state.devices.get(this.#id);
    if (!device?.measured_at || this.#span !== "hour" || device.power_w === null) return;
    const at = Date.parse(device.measured_at) / 1000, [x, y] = this.#power;
    if (x.length && at <= x.at(-1)) return;
    x.push(at);
    y.push(device.power_w);
    while (x.length && x[0] < at - 3600) { x.shift(); y.shift(); }
    this.#curve.update(x, y);
  }

  recolour() { this.#curve.recolour(); }

  async #choose(span) {
    this.#span = span;
    for (const button of $("span").children) button.setAttribute("aria-pressed", String(button.dataset.span === span));
    const turn = ++this.#turn, { ms, query } = SPANS[span];
    const from = new Date(Date.now() - ms).toISOString();
    const part = await this.#ask(`/devices/${this.#id}/telemetry?from=${from}&${query}`);
    if (!part || turn !== this.#turn) return;
    this.#power = [part.items.map((point) => Date.parse(point.time) / 1000), part.items.map((point) => point.power_w)];
    this.#curve.update(...this.#power);
  }

  async #refresh() {
    const id = this.#id, from = new Date(Date.now() - 24 * HOUR_MS).toISOString();
    const [device, energy, sales, refused] = await Promise.all([
      this.#ask(`/admin/devices/${id}`),
      this.#ask(`/devices/${id}/energy?from=${from}&limit=200`),
      this.#ask(`/admin/trades?device_id=${id}&limit=20`),
      this.#ask(`/devices/${id}/rejections?limit=20`),
    ]);
    if (id !== this.#id) return;
    this.showFacts();
    if (device) this.#decisions.show(device);
    if (energy) drawBars($("energy"), new Map(energy.items.map((slot) => [Date.parse(slot.slot_start), bar(slot)])));
    if (sales) $("sales").replaceChildren(...sales.items.map(saleRow));
    if (refused) showRefused(refused);
  }

  async #ask(path) {
    return this.#session.get(path).catch((error) => { console.warn(path, error.message); return null; });
  }
}

function bar({ generated_wh, surplus_wh, quality, reasons }) {
  const why = reasons.length ? ` (${reasons.join(", ")})` : "";
  return { height: generated_wh || surplus_wh, kind: quality, title: `${Math.round(generated_wh)} Wh generated, ${Math.round(surplus_wh)} Wh surplus, ${quality}${why}` };
}

function saleRow(trade) {
  const cells = [[dayAndTime(trade.created_at)], [trade.buyer_name ?? "–"], [Number(trade.energy_kwh).toFixed(3), "number"], [trade.total_price, "number"]];
  return row(cells);
}

function showRefused({ items, readings }) {
  $("refused-count").textContent = `${count(readings.rejected)} of ${count(readings.received)} readings`;
  $("refused").replaceChildren(...items.map((refused) => {
    const item = element("li");
    item.append(element("b", refused.reason), ` ${time(refused.received_at)} `, element("code", refused.topic), element("pre", refused.payload));
    return item;
  }));
}
