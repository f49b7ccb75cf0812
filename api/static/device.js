// One device: its power, the energy counted of it, its totals, listing, sales and refused readings.

import { LineChart, SlotChart } from "./charts.js";
import { DeviceDecisions } from "./decisions.js";
import { STATUS_NAMES } from "./devices.js";
import { count, dayAndTime, element, emptyRow, facts, fixed, MISSING, money, row, wattHours, watts, when } from "./format.js";
import { rhythm, withGaps } from "./scales.js";

const HOUR_MS = 3_600_000;
const SPANS = {
  hour: { ms: HOUR_MS, query: "resolution=raw&limit=10000", least_s: 30 },
  day: { ms: 24 * HOUR_MS, query: "resolution=15m&limit=200", least_s: 900 },
  week: { ms: 7 * 24 * HOUR_MS, query: "resolution=1h&limit=200", least_s: 3600 },
};
// So many times the usual distance between two readings is a gap.
const GAP_FACTOR = 3;
const REFRESH_MS = 15_000;
const SOLD_OR_EARNED = { sold_kwh: (kwh) => `${fixed(Number(kwh), 2)} kWh`, earned: (inr) => money(Number(inr)) };
const TOTALS = [
  ["Generated", "generated_wh"], ["Exported", "exported_wh"], ["Imported, by the meter", "imported_wh"], ["Sold", "sold_kwh"], ["Earned", "earned"],
];
const $ = (id) => document.getElementById(id);

export class DeviceView {
  #session; #state; #curve; #energy; #id = null; #span = "hour"; #power = [[], []]; #timer = null; #opener = null; #turn = 0; #decisions;

  constructor(session, state, decided) {
    this.#session = session;
    this.#state = state;
    this.#decisions = new DeviceDecisions(session, decided);
    this.#curve = new LineChart($("power"), { unit: "kW", divide: 1000 });
    this.#energy = new SlotChart($("energy"), { unit: "Wh", name: "Energy per 15 minutes" });
    $("device-close").addEventListener("click", () => this.close());
    $("device-panel").addEventListener("keydown", (event) => event.key === "Escape" && this.close());
    for (const button of $("span").children) button.addEventListener("click", () => this.#choose(button.dataset.span));
  }

  open(id) {
    if (this.#id === null) this.#opener = document.activeElement;
    this.#id = id;
    $("device-panel").hidden = false;
    $("room").classList.add("with-device");
    $("sales").replaceChildren(emptyRow(4, "…"));
    this.showFacts();
    this.#showTotals(null);
    this.#choose(this.#span);
    this.#refresh();
    clearInterval(this.#timer);
    this.#timer = setInterval(() => this.#refresh(), REFRESH_MS);
    $("device-panel").focus({ preventScroll: true });
    $("device-panel").scrollIntoView({ block: "nearest" });
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
    const power_w = this.#state.power(device), now = this.#state.now();
    $("device-title").textContent = device.name;
    facts($("device-facts"), [
      ["status", STATUS_NAMES[device.status] + (device.fault_code ? ` (${device.fault_code})` : "")],
      ["power now", watts(power_w)],
      ["peak", watts(device.capacity_w)],
      ["owner", this.#state.names.of(device.owner_id)],
      ["kind", device.kind],
      ["battery", typeof device.battery_soc_pct === "number" ? `${fixed(device.battery_soc_pct, 0)} %` : MISSING],
      ["firmware", device.dialect],
      ["last heard", device.last_seen_at ? when(device.last_seen_at, now) : "never"],
    ]);
    const own = [...this.#state.listings.values()].find((listing) => listing.device_id === this.#id);
    $("offer").textContent = own
      ? `${fixed(Number(own.energy_amount_kwh), 3)} kWh at ${money(Number(own.price_per_kwh))}/kWh, ${fixed(Number(own.sold_kwh), 3)} kWh sold${own.auto_adjust ? "; follows the meter" : ""}.`
      : "Nothing on offer.";
  }

  // While the last hour is shown, the power that the feed reports extends it.
  showPower() {
    const device = this.#state.devices.get(this.#id), power_w = this.#state.power(device);
    if (!device?.measured_at || this.#span !== "hour" || power_w === null) return;
    const at = Date.parse(device.measured_at) / 1000, [x, y] = this.#power;
    if (x.length && at <= x.at(-1)) return;
    x.push(at);
    y.push(power_w);
    while (x.length && x[0] < at - 3600) { x.shift(); y.shift(); }
    this.#draw();
  }

  recolour() { this.#curve.recolour(); }

  #draw() {
    const { ms, least_s } = SPANS[this.#span], [x, y] = this.#power, now = this.#state.now();
    $("power-none").hidden = x.length > 0;
    this.#curve.update(...withGaps(x, y, GAP_FACTOR * rhythm(x, least_s)), [(now - ms) / 1000, now / 1000]);
  }

  async #choose(span) {
    this.#span = span;
    for (const button of $("span").children) button.setAttribute("aria-pressed", String(button.dataset.span === span));
    const turn = ++this.#turn, { ms, query } = SPANS[span];
    const from = new Date(this.#state.now() - ms).toISOString();
    const part = await this.#ask(`/devices/${this.#id}/telemetry?from=${from}&${query}`);
    if (!part || turn !== this.#turn) return;
    this.#power = [part.items.map((point) => Date.parse(point.time) / 1000), part.items.map((point) => point.power_w)];
    this.#draw();
  }

  async #refresh() {
    const id = this.#id, now = this.#state.now(), from = new Date(now - 24 * HOUR_MS).toISOString();
    const [device, latest, totals, energy, sales, refused] = await Promise.all([
      this.#ask(`/admin/devices/${id}`),
      this.#ask(`/devices/${id}/latest`),
      this.#ask(`/admin/devices/${id}/totals?from=${midnight(now).toISOString()}`),
      this.#ask(`/devices/${id}/energy?from=${from}&limit=200`),
      this.#ask(`/admin/trades?device_id=${id}&limit=20`),
      this.#ask(`/devices/${id}/rejections?limit=20`),
    ]);
    if (id !== this.#id) return;
    const known = this.#state.devices.get(id);
    if (known && latest?.reading) known.battery_soc_pct = latest.reading.battery_soc_pct ?? known.battery_soc_pct;
    this.showFacts();
    if (device) this.#decisions.show(device);
    if (totals) this.#showTotals(totals);
    if (energy) this.#energy.draw(now, new Map(energy.items.map((slot) => [Date.parse(slot.slot_start), bar(slot)])));
    if (sales) $("sales").replaceChildren(...(sales.items.length ? sales.items.map((trade) => saleRow(trade, now)) : [emptyRow(4, "Nothing was sold yet.")]));
    if (refused) showRefused(refused, now);
  }

  #showTotals(totals) {
    $("device-totals").replaceChildren(...TOTALS.map(([name, field]) => {
      const show = SOLD_OR_EARNED[field] ?? wattHours;
      const value = (sums) => (sums && sums[field] !== null ? show(sums[field]) : MISSING);
      return row([[name], [value(totals?.period), "number"], [value(totals?.lifetime), "number"]]);
    }));
  }

  async #ask(path) {
    return this.#session.get(path).catch((error) => { console.warn(path, error.message); return null; });
  }
}

export function midnight(now) {
  const local = new Date(now);
  local.setHours(0, 0, 0, 0);
  return local;
}

function bar({ generated_wh, surplus_wh, quality, reasons }) {
  const why = reasons.length ? ` (${reasons.join(", ")})` : "";
  return { height: generated_wh || surplus_wh, kind: quality, title: `${count(generated_wh)} Wh generated, ${count(surplus_wh)} Wh surplus, ${quality}${why}` };
}

function saleRow(trade, now) {
  return row([
    [when(trade.created_at, now)], [trade.buyer_name ?? "deleted account"],
    [fixed(Number(trade.energy_kwh), 3), "number"], [money(Number(trade.total_price)), "number"],
  ]);
}

function showRefused({ items, readings }, now) {
  $("refused-count").textContent = `${count(readings.rejected)} of ${count(readings.received)} readings`;
  $("refused").replaceChildren(...items.map((refused) => {
    const item = element("li");
    item.append(element("b", refused.reason), ` ${when(refused.received_at, now)} `, element("code", refused.topic), element("pre", refused.payload));
    return item;
  }));
  if (!items.length) $("refused").append(element("li", "Nothing was refused.", { class: "empty" }));
}
