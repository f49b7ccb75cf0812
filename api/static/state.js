// The data of the control room, kept up to date by the live feed. It knows nothing of the page.

const SAMPLES_MAX = 900; // 15 minutes
const TRADES_MAX = 50;
const SLOT_MS = 900_000;
const MEASURING = new Set(["online", "fault"]);

export class State {
  devices = new Map();
  listings = new Map();
  samples = [];
  trades = [];
  slots = new Map(); // by start, in milliseconds
  counts = {};
  headline = null;
  names; #clock = null;

  constructor(names) { this.names = names; }

  load({ map, flow, market, trades, headline }) {
    this.names.add(map.names);
    this.devices = new Map(map.devices.map((device) => [device.id, device]));
    this.listings = new Map(map.listings.map((listing) => [listing.id, listing]));
    this.samples = flow.samples.slice(-SAMPLES_MAX);
    for (const trade of trades.items) this.#nameTraders(trade);
    this.trades = trades.items.slice(0, TRADES_MAX);
    this.counts = { ...market.listings };
    this.slots = new Map(market.slots.map((slot) => [Date.parse(slot.slot_start), { ...slot }]));
    this.showHeadline(headline);
  }

  showHeadline(headline) {
    this.headline = { ...headline };
    this.#clock = { hub: Date.parse(headline.now), pace: headline.pace, at: performance.now() };
  }

  // The hub's time. In a demonstration it runs faster than this computer's.
  now() {
    if (!this.#clock) return Date.now();
    const { hub, pace, at } = this.#clock;
    return hub + pace * (performance.now() - at);
  }

  // Power that a device generates now; null if it is not known, as of a device that is offline.
  power(device) {
    return device && MEASURING.has(device.status) ? device.power_w : null;
  }

  // Sums over all devices. A home is one owner's devices at one place; it is online if one of them is.
  totals() {
    const homes = new Map(), statuses = { online: 0, offline: 0, fault: 0, pending: 0 };
    let power_w = 0, capacity_w = 0, measuring = 0;
    for (const device of this.devices.values()) {
      statuses[device.status] += 1;
      const home = homeOf(device);
      homes.set(home, homes.get(home) || device.status === "online");
      if (device.kind !== "inverter") continue;
      capacity_w += device.capacity_w;
      const power = this.power(device);
      if (power === null) continue;
      measuring += 1;
      power_w += Math.max(0, power);
    }
    const online = [...homes.values()].filter(Boolean).length;
    return { power_w, capacity_w, measuring, statuses, homes: homes.size, homesOnline: online };
  }

  // Returns the part of the page that an event changes.
  take({ type, data }) {
    if (type.startsWith("listing.")) return this.#listing(data);
    switch (type) {
      case "device.registered":
        this.devices.set(data.id, { status: "pending", power_w: null, ...this.devices.get(data.id), ...data });
        return "devices";
      case "device.changed":
        Object.assign(this.devices.get(data.id) ?? {}, data);
        return "devices";
      case "device.removed":
        this.devices.delete(data.id);
        return "devices";
      case "device.status":
        this.#change(data.device_id, { status: data.status, fault_code: data.fault_code, last_seen_at: data.last_seen_at });
        return "devices";
      case "admin.power":
        for (const { id, power_w, time } of data.devices) this.#measured(id, power_w, time);
        return "power";
      case "admin.flow":
        if (data.time <= (this.samples.at(-1)?.time ?? "")) return null; // it was loaded already
        this.samples.push(data);
        if (this.samples.length > SAMPLES_MAX) this.samples.splice(0, this.samples.length - SAMPLES_MAX);
        return "flow";
      case "purchase.completed":
        return this.#trade(data);
    }
    return null;
  }

  #measured(id, power_w, time) {
    const device = this.devices.get(id);
    if (!device) return;
    // The event of its status may follow: a device that measures has connected.
    if (device.status === "pending") device.status = "online";
    device.power_w = power_w;
    device.measured_at = time;
    if (time > (device.last_seen_at ?? "")) device.last_seen_at = time;
  }

  #change(id, values) {
    const device = this.devices.get(id);
    if (device) Object.assign(device, values);
  }

  // Events after a reload may be older than what was loaded.
  #listing(listing) {
    const known = this.listings.get(listing.id);
    if (known && known.version >= listing.version) return null;
    if (listing.status === "active") this.listings.set(listing.id, listing);
    else this.listings.delete(listing.id);
    return "listings";
  }

  #nameTraders({ buyer_id, buyer_name, seller_id, seller_name }) {
    if (buyer_id && buyer_name) this.names.add({ [buyer_id]: buyer_name });
    if (seller_id && seller_name) this.names.add({ [seller_id]: seller_name });
  }

  #trade(trade) {
    if (this.trades.some((one) => one.id === trade.id)) return null;
    // Of a listing that has sold out it is unknown whether a meter measured it.
    const device_id = this.listings.get(trade.listing_id)?.device_id;
    this.trades.unshift({ ...trade, device_id });
    this.trades.length = Math.min(this.trades.length, TRADES_MAX);
    const start = Math.floor(Date.parse(trade.created_at) / SLOT_MS) * SLOT_MS;
    const slot = this.slots.get(start) ?? { transactions: 0, energy_kwh: 0, total_price: 0, platform_fees: 0 };
    add(slot, trade);
    slot.platform_fees = Number(slot.platform_fees) + Number(trade.platform_fee);
    this.slots.set(start, slot);
    if (this.headline) add(this.headline, trade);
    return "market";
  }
}

// Devices about 100 m apart at most are at one place.
function homeOf({ id, owner_id, latitude, longitude }) {
  const place = typeof latitude === "number" ? `${latitude.toFixed(3)} ${longitude.toFixed(3)}` : "";
  return owner_id ? `${owner_id} ${place}` : id;
}

function add(sums, trade) {
  sums.transactions += 1;
  sums.energy_kwh = Number(sums.energy_kwh) + Number(trade.energy_kwh);
  sums.total_price = Number(sums.total_price) + Number(trade.total_price);
  sums.average_price_per_kwh = sums.total_price / sums.energy_kwh;
}
