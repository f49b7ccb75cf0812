// Flags, decisions of administrators about devices, and the record of what they did.

import { count, dayAndTime, element, facts } from "./format.js";

const $ = (id) => document.getElementById(id);
const FLAGS = {
  earning_resets: ({ resets_seen, share_of_day }) => `earns by resets: ${resets_seen} seen, ${Math.round(100 * share_of_day)} % of the day`,
  night_generation: ({ slots, examples }) => `generates in the dark: ${slots} slots, sun at ${examples[0].sun_at_most_deg.toFixed(0)}°`,
  near_limit: ({ hours, mean_power_w, capacity_w }) => `close to its limit for ${hours} h: ${count(mean_power_w)} W of ${count(capacity_w)} W`,
};

// The lists of open flags and of what administrators did.
export class Oversight {
  #session; #open;

  constructor(session, open) {
    this.#session = session;
    this.#open = open;
  }

  async load() {
    const [flags, actions] = await Promise.all([
      this.#session.get("/admin/flags?state=open&limit=50"), this.#session.get("/admin/actions?limit=20"),
    ]);
    $("flags-count").textContent = flags.next_cursor ? "50 or more" : flags.items.length || "none";
    $("flags").replaceChildren(...flags.items.map((flag) => this.#flag(flag)));
    $("actions").replaceChildren(...actions.items.map(actionItem));
  }

  #flag(flag) {
    const item = element("li"), name = flag.device_removed ? `${flag.device_name} (removed)` : flag.device_name;
    const button = element("button", name, { type: "button" });
    button.disabled = flag.device_removed;
    button.addEventListener("click", () => this.#open(flag.device_id));
    item.append(button, ` ${about(flag)}`);
    return item;
  }
}

function about({ kind, evidence, energy_wh, created_at }) {
  const what = FLAGS[kind] ? FLAGS[kind](evidence) : kind;
  return `${what}; ${count(energy_wh)} Wh, since ${dayAndTime(created_at)}`;
}

function actionItem({ admin_email, action, subject_name, subject_id, before, after, reason, created_at }) {
  const item = element("li");
  const changes = Object.keys(after).map((name) => `${name}: ${shown(before[name])} → ${shown(after[name])}`);
  item.append(element("b", action), ` ${subject_name ?? subject_id.slice(0, 8)} · ${changes.join("; ")}`);
  item.append(element("div", `${dayAndTime(created_at)} · ${admin_email ?? "–"} · ${reason ?? "no reason given"}`, { class: "why" }));
  return item;
}

const INSTANT = /^\d{4}-\d\d-\d\dT[\d:.]+Z$/;

function shown(value) {
  if (typeof value === "string" && INSTANT.test(value)) return dayAndTime(value);
  return value === undefined ? "–" : Array.isArray(value) ? value.join(", ") : String(value);
}

// The decisions about the device that is shown, and the form that changes them.
export class DeviceDecisions {
  #session; #device = null; #changed;

  constructor(session, changed) {
    this.#session = session;
    this.#changed = changed;
    $("decide").addEventListener("submit", (event) => {
      event.preventDefault();
      this.#decide(event.submitter?.value, event.target);
    });
  }

  show(device) {
    if (device.id !== this.#device?.id) $("decide").reset();
    this.#device = device;
    const open = device.flags.filter((flag) => flag.state === "open");
    facts($("decided"), [
      ["earns from", dayAndTime(device.earns_from)],
      ["capacity", device.capacity_approved ? "approved" : "not approved"],
      ["selling", device.frozen ? "frozen" : "as its meter says"],
    ]);
    $("device-flags").replaceChildren(...open.map((flag) => element("li", about(flag))));
    $("freeze").textContent = device.frozen ? "Unfreeze" : "Freeze";
    $("approve").textContent = device.capacity_approved ? "Withdraw approval" : "Approve capacity";
    $("confirm").hidden = open.length === 0;
  }

  async #decide(what, form) {
    const device = this.#device, refusal = $("decide-refusal");
    const decision = {
      freeze: { frozen: !device.frozen },
      approve: { capacity_approved: !device.capacity_approved },
      confirm: { flags_confirmed: device.flags.filter((flag) => flag.state === "open").map((flag) => flag.kind) },
    }[what];
    refusal.textContent = "";
    try {
      this.show(await this.#session.patch(`/admin/devices/${device.id}`, { ...decision, reason: form.elements.reason.value }));
      form.reset();
      await this.#changed();
    } catch (error) {
      refusal.textContent = error.message;
    }
  }
}
