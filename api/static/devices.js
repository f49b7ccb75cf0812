// The list of devices: everything on the map, for keyboards, screen readers, searching and sorting.

import { byName, count, dayAndTime, element, MISSING, set, watts, when } from "./format.js";
import { PagedTable } from "./table.js";

export const STATUS_NAMES = { online: "online", offline: "offline", fault: "fault", pending: "never connected" };
const URGENCY = { fault: 0, offline: 1, pending: 2, online: 3 };
const $ = (id) => document.getElementById(id);

export class DeviceList {
  #state; #table; #text = ""; #status = "";

  constructor(state, open) {
    this.#state = state;
    this.#table = new PagedTable({
      table: $("devices-table"), pager: $("devices-pager"), sort: "Status", open: (device) => open(device.id), columns: this.#columns(),
      empty: () => (this.#state.devices.size ? "No device matches." : "No devices yet. A host registers one in the app or over the API."),
    });
    $("find").addEventListener("input", (event) => this.#filter(() => (this.#text = event.target.value.trim().toLowerCase())));
    $("status").addEventListener("change", (event) => this.#filter(() => (this.#status = event.target.value)));
  }

  // `changed`: more than the devices' power.
  show(changed = true) {
    const all = [...this.#state.devices.values()];
    if (changed) this.#countStatuses(all);
    const found = this.#text || this.#status ? all.filter((device) => this.#matches(device)) : all;
    set($("devices-count"), found.length === all.length ? count(all.length) : `${count(found.length)} of ${count(all.length)}`);
    this.#table.show(found, changed);
  }

  #filter(change) {
    change();
    this.#table.first();
    this.show();
  }

  #countStatuses(devices) {
    const counts = { "": devices.length };
    for (const { status } of devices) counts[status] = (counts[status] ?? 0) + 1;
    for (const option of $("status").options) {
      const name = STATUS_NAMES[option.value] ?? "all";
      set(option, `${name} (${count(counts[option.value] ?? 0)})`);
    }
  }

  #matches(device) {
    if (this.#status && device.status !== this.#status) return false;
    const owner = this.#state.names.known(device.owner_id) ?? "";
    return !this.#text || [device.name, owner, device.status, device.dialect, device.kind, device.id].some((text) => text?.toLowerCase().includes(this.#text));
  }

  #columns() {
    const names = this.#state.names;
    const thenName = (compare) => (a, b) => compare(a, b) || byName(a.name, b.name);
    return [
      { title: "Name", compare: (a, b) => byName(a.name, b.name), show: (cell, device, row) => showName(cell, device, row, names.of(device.owner_id)) },
      { title: "Status", compare: thenName((a, b) => URGENCY[a.status] - URGENCY[b.status]), show: showStatus },
      {
        title: "Power", number: true, changing: true, descending: true,
        compare: thenName((a, b) => (this.#state.power(a) ?? -Infinity) - (this.#state.power(b) ?? -Infinity) || 0),
        show: (cell, device) => set(cell, watts(this.#state.power(device))),
      },
      {
        title: "Seen", number: true, wide: true, changing: true, descending: true,
        compare: thenName((a, b) => (a.last_seen_at ?? "").localeCompare(b.last_seen_at ?? "")),
        show: (cell, device) => set(cell, device.last_seen_at ? when(device.last_seen_at, this.#state.now()) : MISSING),
      },
    ];
  }
}

function showName(cell, device, row, owner) {
  if (!cell.firstChild) {
    const button = element("button", "", { type: "button", class: "name" });
    cell.append(button, element("span", "", { class: "owner" }));
    row.dataset.device = device.id;
  }
  const [name, who] = cell.children;
  set(name, device.name);
  name.title = device.name;
  set(who, owner);
}

function showStatus(cell, device) {
  if (!cell.firstChild) cell.append(element("span", "", { class: "status" }));
  set(cell.firstChild, STATUS_NAMES[device.status] ?? device.status);
  cell.firstChild.dataset.key = device.status;
  cell.firstChild.title = device.fault_code ? `fault ${device.fault_code}` : device.last_seen_at ? `last heard ${dayAndTime(device.last_seen_at)}` : "";
}
