// The headline: power now, energy and money of today, homes online, the price against the grid, CO₂.

import { count, element, fixed, MISSING, money, price, set, wattHours, watts } from "./format.js";

const TILES = ["Solar power now", "Generated today", "Sold today", "Homes online", "Price today", "CO₂ avoided today"];

export class Headline {
  #tiles;

  constructor(list) {
    this.#tiles = TILES.map((name) => {
      const tile = element("div"), value = element("dd", MISSING, { class: "value" }), about = element("dd", "", { class: "about" });
      tile.append(element("dt", name), value, about);
      list.append(tile);
      return { tile, value, about };
    });
    const gauge = element("span", undefined, { class: "gauge", "aria-hidden": "true" });
    gauge.append(element("i"));
    this.#tiles[4].tile.append(gauge);
  }

  show(state) {
    const totals = state.totals(), today = state.headline;
    this.#set(0, totals.measuring ? watts(totals.power_w) : MISSING, totals.capacity_w ? `of ${watts(totals.capacity_w)} peak` : "no inverters yet");
    this.#set(3, `${count(totals.homesOnline)} of ${count(totals.homes)}`, condition(totals.statuses));
    if (!today) return;
    const generated_wh = 1000 * Number(today.generated_kwh);
    this.#set(1, wattHours(generated_wh), generated_wh ? "as meters counted it" : "nothing was counted yet");
    const trades = Number(today.transactions);
    this.#set(2, money(Number(today.total_price)), trades ? `${fixed(Number(today.energy_kwh), 2)} kWh in ${count(trades)} ${trades === 1 ? "purchase" : "purchases"}` : "no purchases yet");
    this.#price(today);
    const co2_kg = Number(today.co2_avoided_kg);
    this.#set(5, co2_kg >= 1000 ? `${fixed(co2_kg / 1000, 2)} t` : `${fixed(co2_kg, co2_kg >= 100 ? 0 : 1)} kg`, "that the grid would emit");
  }

  #price(today) {
    const retail = Number(today.grid_retail_price), exported = Number(today.grid_export_price);
    if (today.average_price_per_kwh === null) {
      this.#set(4, MISSING, `the grid takes ${price(retail)}`);
    } else {
      const average = Number(today.average_price_per_kwh), share = Math.round(100 * (1 - average / retail));
      const compared = share > 0 ? `${share} % below` : share < 0 ? `${-share} % above` : "as much as";
      this.#set(4, price(average), `${compared} the grid’s ${money(retail)}`);
      const place = Math.min(1, Math.max(0, (average - exported) / (retail - exported)));
      this.#tiles[4].tile.querySelector("i").style.left = `${100 * place}%`;
    }
    this.#tiles[4].tile.title = `The grid pays ${price(exported)} and takes ${price(retail)}`;
    this.#tiles[4].tile.classList.toggle("priced", today.average_price_per_kwh !== null);
  }

  #set(n, value, about) {
    set(this.#tiles[n].value, value);
    set(this.#tiles[n].about, about);
  }
}

function condition({ online, offline, fault, pending }) {
  const wrong = [[offline, "offline"], [fault, "with a fault"], [pending, "never connected"]].filter(([number]) => number);
  if (!wrong.length) return online ? "every device is online" : "no devices yet";
  return `devices: ${wrong.map(([number, what]) => `${count(number)} ${what}`).join(", ")}`;
}
