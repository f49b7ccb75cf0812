// Items that failed repeatedly and are not tried any more. Nothing waits behind them.

import { dayAndTime, element } from "./format.js";

const SHOWN_MAX = 50;
const NAMES = {
  payments: "payment", events: "event", presence: "device that is due offline", expiry: "listing that has expired",
  prices: "price of a listing", broker_accounts: "broker account of a device",
  late_readings: "device with late readings",
};
const $ = (id) => document.getElementById(id);

export async function showSetAside(session) {
  const { items, next_cursor } = await session.get(`/admin/set-aside?limit=${SHOWN_MAX}`);
  $("set-aside-count").textContent = next_cursor ? `more than ${items.length}` : String(items.length);
  $("set-aside-count").className = items.length ? "broken" : "";
  $("set-aside").replaceChildren(...(items.length ? items.map(line) : [element("li", "Nothing.")]));
}

function line(item) {
  const made = element("li", `${NAMES[item.queue] ?? item.queue}, ${dayAndTime(item.set_aside_at)}: ${item.error} `);
  made.append(element("code", item.item));
  return made;
}
