// The list of active listings: what is on offer, of whom, and whether a meter measures it.

import { byName, count, dayAndTime, element, fixed, set } from "./format.js";
import { PagedTable } from "./table.js";

const $ = (id) => document.getElementById(id);

export class ListingList {
  #state; #table; #which = "";

  constructor(state, open) {
    this.#state = state;
    this.#table = new PagedTable({
      table: $("listings-table"), pager: $("listings-pager"), sort: "₹/kWh", columns: this.#columns(),
      open: (listing) => listing.device_id && open(listing.device_id),
      empty: () => (this.#state.listings.size ? "No listing matches." : "Nothing is on offer."),
    });
    $("metered").addEventListener("change", (event) => {
      this.#which = event.target.value;
      this.#table.first();
      this.show();
    });
  }

  show() {
    const all = [...this.#state.listings.values()];
    const found = this.#which ? all.filter((listing) => Boolean(listing.device_id) === (this.#which === "metered")) : all;
    set($("listings-count"), found.length === all.length ? count(all.length) : `${count(found.length)} of ${count(all.length)}`);
    this.#table.show(found);
  }

  #columns() {
    const seller = (listing) => this.#state.names.of(listing.seller_id);
    const numbers = (field) => (a, b) => Number(a[field]) - Number(b[field]) || byName(a.id, b.id);
    const number = (title, field, decimals, wide = false) => ({
      title, number: true, wide, compare: numbers(field), show: (cell, listing) => set(cell, fixed(Number(listing[field]), decimals)),
    });
    return [
      { title: "Seller", compare: (a, b) => byName(seller(a), seller(b)) || byName(a.id, b.id), show: (cell, listing) => this.#showSeller(cell, listing, seller(listing)) },
      number("kWh left", "energy_amount_kwh", 2),
      number("₹/kWh", "price_per_kwh", 2),
      number("sold", "sold_kwh", 2, true),
      { title: "until", number: true, wide: true, compare: (a, b) => a.available_to.localeCompare(b.available_to), show: (cell, listing) => set(cell, dayAndTime(listing.available_to)) },
    ];
  }

  #showSeller(cell, listing, seller) {
    if (!cell.firstChild) cell.append(element(listing.device_id ? "button" : "span", "", listing.device_id ? { type: "button", class: "name" } : { class: "name" }), element("span", ""));
    const [name, source] = cell.children, device = this.#state.devices.get(listing.device_id);
    set(name, seller);
    name.title = seller;
    source.className = listing.device_id ? "owner" : "badge";
    set(source, listing.device_id ? (device?.name ?? "metered") : "unmetered");
  }
}
