// What the room shows, kept up to date by the live feed. Knows nothing of the page.

const SAMPLES_MAX = 900; // 15 minutes
const TRADES_MAX = 50;

export class State {
  devices = new Map();
  listings = new Map();
  samples = [];
  trades = [];
  slots = new Map(); // by start, in milliseconds
  counts = {};

  load({ map, flow, market, trades }) {
    this.devices = new Map(map.devices.map((device) => [device.id, device]));
    this.listings = new Map(map.listings.map((listing) => [listing.id, listing]));
    this.samples = flow.samples.slice(-SAMPLES_MAX);
    this.trades = trades.items.slice(0, TRADES_MAX);
    this.counts = { ...market.listings };
    this.slots = new Map(market.slots.map((slot) => [Date.parse(slot.slot_start), { ...slot }]));
  }

  // Which part of the page an event changes.
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
        for (const { id, power_w, time } of data.devices) this.#change(id, { power_w, measured_at: time });
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

  #change(id, what) {
    const device = this.devices.get(id);
    if (device) Object.assign(device, what);
  }

  // What follows a reload may be older than what was loaded.
  #listing(listing) {
    const known = this.listings.get(listing.id);
    if (known && known.version >= listing.version) return null;
    if (listing.status === "active") this.listings.set(listing.id, listing);
    else this.listings.delete(listing.id);
    return "listings";
  }

  #trade(trade) {
    if (this.trades.some((one) => one.id === trade.id)) return null;
    const device_id = this.listings.get(trade.listing_id)?.device_id ?? null;
    this.trades.unshift({ ...trade, device_id });
    this.trades.length = Math.min(this.trades.length, TRADES_MAX);
    const start = Math.floor(Date.parse(trade.created_at) / 900_000) * 900_000;
    const slot = this.slots.get(start) ?? { transactions: 0, energy_kwh: 0, total_price: 0, platform_fees: 0 };
    slot.transactions += 1;
    slot.energy_kwh = Number(slot.energy_kwh) + Number(trade.energy_kwh);
    slot.total_price = Number(slot.total_price) + Number(trade.total_price);
    slot.platform_fees = Number(slot.platform_fees) + Number(trade.platform_fee);
    slot.average_price_per_kwh = slot.total_price / slot.energy_kwh;
    this.slots.set(start, slot);
    return "market";
  }
}
