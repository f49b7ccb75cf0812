// What is on offer, what was traded, and whether the books hold.

import { drawBars } from "./charts.js";
import { count, dayAndTime, facts, row, shortId, time } from "./format.js";

const STATUSES = ["active", "paused", "sold", "expired", "cancelled"];
const $ = (id) => document.getElementById(id);

export function showMarket(state) {
  const fees = [...state.slots.values()].reduce((sum, slot) => sum + Number(slot.platform_fees), 0);
  facts($("counts"), [
    ...STATUSES.map((status) => [status, count(status === "active" ? state.listings.size : (state.counts[status] ?? 0))]),
    ["fees, 24 h", `₹${fees.toFixed(2)}`],
  ]);
  const bars = new Map(), prices = new Map();
  for (const [at, slot] of [...state.slots].sort(([a], [b]) => a - b)) {
    const price = Number(slot.average_price_per_kwh), energy = Number(slot.energy_kwh);
    bars.set(at, { height: energy, kind: "traded", title: `${energy.toFixed(3)} kWh at ₹${price.toFixed(2)}, ${slot.transactions} trades` });
    prices.set(at, price);
  }
  drawBars($("slots"), bars, prices);
  $("trades").replaceChildren(...state.trades.slice(0, 20).map((trade) => tradeRow(trade, state)));
}

function tradeRow(trade, state) {
  const seller = state.devices.get(trade.device_id)?.name ?? trade.seller_name ?? shortId(trade.seller_id);
  const cells = [[time(trade.created_at)], [seller], [Number(trade.energy_kwh).toFixed(3), "number"],
    [Number(trade.price_per_kwh).toFixed(2), "number"], [trade.total_price, "number"]];
  return row(cells);
}

export function showAudit(audit) {
  const told = $("audit");
  told.className = audit ? (audit.ok ? "holds" : "broken") : "";
  if (!audit) told.textContent = "Not audited yet.";
  else if (audit.ok) told.textContent = `The books held: ${audit.checks.length} checks, ${dayAndTime(audit.finished_at)}.`;
  else told.textContent = "The books do not hold: " + audit.checks.filter((check) => !check.ok).map((check) => `${check.rule} (${check.offending_count})`).join("; ") + ".";
}
