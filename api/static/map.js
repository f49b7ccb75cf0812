// Devices and listings where they are. Devices are dots: colour by status, size by power; offers carry their price.

import { colour, element, watts } from "./format.js";

const L = globalThis.L;
const START = { centre: [12.97, 77.59], zoom: 11 };
const STATUSES = ["online", "offline", "fault", "pending"];

export class RoomMap {
  #map; #devices; #offers; #lines; #open; #fitted = false;
  #dots = new Map(); #tags = new Map(); #colours = {};

  // `open` is called with the id of a device that was chosen.
  constructor(container, open) {
    this.#open = open;
    this.#map = L.map(container, { preferCanvas: true, maxZoom: 19, minZoom: 2, worldCopyJump: true, zoomAnimation: !reduced() });
    this.#map.attributionControl.setPrefix(false);
    this.#map.setView(START.centre, START.zoom);
    this.#devices = this.#cluster("devices");
    this.#offers = this.#cluster("offers");
    this.#lines = L.layerGroup().addTo(this.#map);
    this.#map.on("moveend", () => this.#graticule());
    this.recolour();
    new ResizeObserver(() => this.#map.invalidateSize()).observe(container);
  }

  #cluster(kind) {
    const group = L.markerClusterGroup({
      maxClusterRadius: 46, showCoverageOnHover: false, chunkedLoading: true, chunkInterval: 40, animate: false,
      disableClusteringAtZoom: 17, spiderfyOnMaxZoom: false,
      iconCreateFunction: (cluster) => {
        const html = element("span", String(cluster.getChildCount()));
        return L.divIcon({ html, className: `cluster ${kind}`, iconSize: [34, 34] });
      },
    });
    return group.addTo(this.#map);
  }

  tiles(url) {
    if (!url) return;
    const attribution = '&copy; <a href="https://www.openstreetmap.org/copyright">OpenStreetMap</a> contributors';
    L.tileLayer(url, { maxZoom: 19, attribution }).addTo(this.#map);
    this.#map.getContainer().classList.add("tiled");
  }

  recolour() {
    this.#colours = Object.fromEntries([...STATUSES, "line", "panel"].map((name) => [name, colour(name)]));
    for (const [, dot] of this.#dots) dot.setStyle(this.#style(dot.shown));
    this.#graticule();
  }

  showDevices(devices) {
    const placed = [...devices.values()].filter((device) => device.latitude !== null);
    const [gone, come] = difference(this.#dots, placed);
    this.#devices.removeLayers(gone.map((id) => taken(this.#dots, id)));
    this.#devices.addLayers(come.map((device) => this.#dot(device)));
    for (const device of placed) this.#update(device);
    if (!this.#fitted && placed.length) this.#fit(placed);
  }

  showPowers(devices) {
    for (const id of this.#dots.keys()) this.#update(devices.get(id));
  }

  #dot(device) {
    const dot = L.circleMarker([device.latitude, device.longitude], { ...this.#style(device), radius: radius(device) });
    dot.bindTooltip(() => about(dot.shown), { direction: "top" });
    dot.on("click", () => this.#open(device.id));
    dot.shown = { ...device };
    this.#dots.set(device.id, dot);
    return dot;
  }

  #update(device) {
    const dot = device && this.#dots.get(device.id);
    if (!dot) return;
    const before = dot.shown;
    dot.shown = { ...device };
    if (before.status !== device.status) dot.setStyle(this.#style(device));
    if (radius(before) !== radius(device)) dot.setRadius(radius(device));
    if (before.latitude !== device.latitude || before.longitude !== device.longitude) {
      this.#devices.removeLayer(dot);
      dot.setLatLng([device.latitude, device.longitude]);
      this.#devices.addLayer(dot);
    }
  }

  #style(device) {
    const fillColor = this.#colours[device.status] ?? this.#colours.offline;
    return { fillColor, fillOpacity: 0.85, color: this.#colours.panel, weight: 1.5 };
  }

  showListings(listings) {
    const [gone, come] = difference(this.#tags, [...listings.values()]);
    this.#offers.removeLayers(gone.map((id) => taken(this.#tags, id)));
    this.#offers.addLayers(come.map((listing) => this.#tag(listing)));
    for (const listing of listings.values()) {
      const tag = this.#tags.get(listing.id);
      if (tag.version !== listing.version) {
        tag.version = listing.version;
        tag.label.textContent = offer(listing);
      }
    }
  }

  #tag(listing) {
    const label = element("span", offer(listing));
    const icon = L.divIcon({ html: label, className: "offer", iconSize: null });
    const tag = L.marker([listing.latitude, listing.longitude], { icon, keyboard: false, interactive: Boolean(listing.device_id) });
    if (listing.device_id) tag.on("click", () => this.#open(listing.device_id));
    tag.label = label;
    tag.version = listing.version;
    this.#tags.set(listing.id, tag);
    return tag;
  }

  #fit(placed) {
    this.#fitted = true;
    this.#map.fitBounds(L.latLngBounds(placed.map((d) => [d.latitude, d.longitude])).pad(0.05), { maxZoom: 14, animate: false });
  }

  // Meridians and parallels, some to a screen: where there are no tiles one still sees how far it is.
  #graticule() {
    const bounds = this.#map.getBounds().pad(0.2);
    const step = stepOf(bounds.getNorth() - bounds.getSouth());
    const lines = [];
    const style = { color: this.#colours.line, weight: 1, interactive: false };
    for (let at = Math.ceil(bounds.getSouth() / step) * step; at < bounds.getNorth(); at += step)
      lines.push(L.polyline([[at, bounds.getWest()], [at, bounds.getEast()]], style), degrees(at, this.#map.getBounds().getWest(), at, step));
    for (let at = Math.ceil(bounds.getWest() / step) * step; at < bounds.getEast(); at += step)
      lines.push(L.polyline([[bounds.getSouth(), at], [bounds.getNorth(), at]], style), degrees(this.#map.getBounds().getSouth(), at, at, step));
    this.#lines.clearLayers();
    for (const line of lines) this.#lines.addLayer(line);
  }
}

const reduced = () => matchMedia("(prefers-reduced-motion: reduce)").matches;
const offer = (listing) => `₹${Number(listing.price_per_kwh).toFixed(2)} · ${energy(Number(listing.energy_amount_kwh))} kWh`;
const energy = (kwh) => kwh.toFixed(kwh >= 10 ? 0 : kwh >= 1 ? 1 : 2);
const radius = (device) => 4 + Math.min(12, Math.round(Math.sqrt(Math.max(0, device.power_w ?? 0)) / 8));

function about(device) {
  const told = element("span");
  const fault = device.fault_code ? ` (${device.fault_code})` : "";
  told.append(element("strong", device.name), element("br"), `${device.status}${fault} · ${watts(device.power_w)}`);
  return told;
}

function difference(shown, wanted) {
  const ids = new Set(wanted.map((one) => one.id));
  return [[...shown.keys()].filter((id) => !ids.has(id)), wanted.filter((one) => !shown.has(one.id))];
}

function taken(shown, id) {
  const layer = shown.get(id);
  shown.delete(id);
  return layer;
}

function stepOf(span) {
  const steps = [30, 10, 5, 2, 1, 0.5, 0.2, 0.1, 0.05, 0.02, 0.01, 0.005, 0.002, 0.001];
  return steps.find((step) => span / step >= 4) ?? steps.at(-1);
}

function degrees(latitude, longitude, value, step) {
  const html = element("span", `${value.toFixed(step < 1 ? Math.ceil(-Math.log10(step)) : 0)}°`);
  return L.marker([latitude, longitude], { icon: L.divIcon({ html, className: "degrees", iconSize: null }), interactive: false, keyboard: false });
}
