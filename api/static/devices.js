// The list of devices: what the map shows, for keyboards, screen readers and searching.

import { count, element, watts } from "./format.js";

const SHOWN_MAX = 100;
const ORDER = { fault: 0, offline: 1, online: 2, pending: 3 };
const $ = (id) => document.getElementById(id);

export class DeviceList {
  #open; #text = ""; #state; #items = new Map();

  constructor(state, open) {
    this.#state = state;
    this.#open = open;
    $("find").addEventListener("input", (event) => {
      this.#text = event.target.value.trim().toLowerCase();
      this.show();
    });
  }

  show() {
    const found = [...this.#state.devices.values()].filter((device) => this.#matches(device));
    found.sort((a, b) => ORDER[a.status] - ORDER[b.status] || a.name.localeCompare(b.name));
    $("devices-count").textContent = found.length > SHOWN_MAX ? `${SHOWN_MAX} of ${count(found.length)}` : count(found.length);
    const shown = found.slice(0, SHOWN_MAX).map((device) => this.#item(device));
    const list = $("devices");
    // Only what moved is moved: the focus stays where it is.
    shown.forEach((item, n) => { if (list.children[n] !== item) list.insertBefore(item, list.children[n] ?? null); });
    while (list.children.length > shown.length) list.lastChild.remove();
    const ids = new Set(found.slice(0, SHOWN_MAX).map((device) => device.id));
    for (const id of this.#items.keys()) if (!ids.has(id)) this.#items.delete(id);
  }

  #matches(device) {
    return !this.#text || [device.name, device.status, device.dialect, device.id].some((told) => told.toLowerCase().includes(this.#text));
  }

  #item(device) {
    let item = this.#items.get(device.id);
    if (!item) {
      item = element("li");
      const button = element("button", undefined, { type: "button", "data-device": device.id });
      button.append(element("span", "", { class: "name" }), element("span", "", { class: "status" }), element("span", "", { class: "number" }));
      button.addEventListener("click", () => this.#open(device.id));
      item.append(button);
      this.#items.set(device.id, item);
    }
    const [name, status, power] = item.firstChild.children;
    set(name, device.name);
    set(status, device.status);
    status.dataset.key = device.status;
    set(power, watts(device.power_w));
    return item;
  }
}

function set(node, text) {
  if (node.textContent !== text) node.textContent = text;
}
