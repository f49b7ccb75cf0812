// What is traded, at which price, by whom, and whether the books hold.

import { SlotChart } from "./charts.js";
import { count, dayAndTime, element, emptyRow, facts, fixed, money, row, when } from "./format.js";

const STATUSES = ["active", "paused", "sold", "expired", "cancelled"];
const SHOWN_MAX = 20;
const DAY_MS = 86_400_000;
const $ = (id) => document.getElementById(id);

export class Market {
  #state; #chart;

  constructor(state) {
    this.#state = state;
    this.#chart = new SlotChart($("slots"), { unit: "kWh", lineUnit: "₹/kWh", name: "Energy traded per 15 minutes" });
  }

  show() {
    const { slots, listings, counts } = this.#state;
    const since = this.#state.now() - DAY_MS;
    // A page that stays open for days would add up all of them.
    for (const at of slots.keys()) if (at < since) slots.delete(at);
    const fees = [...slots.values()].reduce((sum, slot) => sum + Number(slot.platform_fees), 0);
    facts($("counts"), [
      ...STATUSES.map((status) => [status, count(status === "active" ? listings.size : (counts[status] ?? 0))]),
      ["fees, 24 h", money(fees)],
    ]);
    const bars = new Map(), prices = new Map();
    for (const [at, slot] of slots) {
      const price = Number(slot.average_price_per_kwh), energy = Number(slot.energy_kwh);
      bars.set(at, { height: energy, kind: "traded", title: `${fixed(energy, 3)} kWh at ${money(price)}/kWh, ${slot.transactions} purchases` });
      prices.set(at, price);
    }
    this.#chart.draw(this.#state.now(), bars, prices);
    this.showTrades();
  }

  showTrades() {
    const rows = this.#state.trades.slice(0, SHOWN_MAX).map((trade) => this.#trade(trade));
    $("trades").replaceChildren(...(rows.length ? rows : [emptyRow(6, "No purchases yet.")]));
  }

  #trade(trade) {
    const { names } = this.#state, now = this.#state.now();
    const seller = element("span", names.of(trade.seller_id));
    if (trade.listing_id && trade.device_id === null) seller.append(" ", element("span", "unmetered", { class: "badge" }));
    return row([
      [when(trade.created_at, now)], [names.of(trade.buyer_id)], [seller],
      [fixed(Number(trade.energy_kwh), 3), "number"], [fixed(Number(trade.price_per_kwh), 2), "number wide"], [money(Number(trade.total_price)), "number"],
    ]);
  }
}

export function showAudit(audit) {
  const result = $("audit");
  result.className = audit ? (audit.ok ? "holds" : "broken") : "";
  if (!audit) result.textContent = "Not audited yet.";
  else if (audit.ok) result.textContent = `The books held: ${audit.checks.length} checks, ${dayAndTime(audit.finished_at)}.`;
  else result.textContent = "The books do not hold: " + audit.checks.filter((check) => !check.ok).map((check) => `${check.rule} (${check.offending_count})`).join("; ") + ".";
}
