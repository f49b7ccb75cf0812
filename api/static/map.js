// The map: devices and listings on one canvas over Leaflet, placed so that none covers another.

import { colour, element, fixed, money, rem, watts } from "./format.js";
import { drawGraticule, MapBase } from "./map_base.js";
import { grouped, labelPlace, mercator, TakenBoxes } from "./map_layout.js";
import { drawGroup, drawLabel } from "./map_markers.js";

const L = globalThis.L;
const START = { centre: [12.97, 77.59], zoom: 11 };
const COLOURS = ["online", "offline", "fault", "pending", "listing", "panel", "text", "accent", "sea", "land", "coast", "grid", "place"];
const TILES_ATTRIBUTION = '&copy; <a href="https://www.openstreetmap.org/copyright">OpenStreetMap</a> contributors';
const BASE_ATTRIBUTION = 'Natural Earth · <a href="https://www.geonames.org">GeoNames</a>';

export class RoomMap {
  #map; #state; #open; #canvas; #context; #base; #points = []; #groups = null; #shown = []; #fitted = false; #tiled = false;
  #colours = {}; #drawing = false; #tooltip; #hovered = null; #empty;

  // `open` is called with the id of a device that was chosen.
  constructor(container, state, open) {
    this.#state = state;
    this.#open = open;
    this.#map = L.map(container, { maxZoom: 18, minZoom: 2, worldCopyJump: true, zoomAnimation: false, fadeAnimation: false });
    this.#map.attributionControl.setPrefix(false);
    this.#map.attributionControl.addAttribution(BASE_ATTRIBUTION);
    L.control.scale({ imperial: false }).addTo(this.#map);
    this.#canvas = element("canvas", undefined, { class: "markers", "aria-hidden": "true" });
    this.#map.getPane("overlayPane").append(this.#canvas);
    this.#context = this.#canvas.getContext("2d");
    this.#empty = element("p", "No devices yet", { class: "map-empty", hidden: "" });
    container.append(this.#empty);
    this.#tooltip = L.tooltip({ direction: "top", opacity: 1 });
    this.#map.setView(START.centre, START.zoom);
    this.#map.on("move resize", () => this.#redraw());
    this.#map.on("zoomend", () => { this.#groups = null; this.#redraw(); });
    this.#map.on("mousemove", (event) => this.#hover(event.containerPoint));
    this.#map.on("mouseout", () => this.#hover(null));
    this.#map.on("click", (event) => this.#choose(event.containerPoint));
    this.#base = new MapBase(() => this.#redraw());
    this.recolour();
    new ResizeObserver(() => { this.#map.invalidateSize({ pan: false }); this.#groups = null; this.#redraw(); }).observe(container);
  }

  // Shows tiles of a server; without one, the map that comes with the hub.
  tiles(url) {
    if (!url) return this.#base.load().catch((error) => console.warn("map:", error));
    this.#tiled = true;
    this.#map.attributionControl.removeAttribution(BASE_ATTRIBUTION);
    L.tileLayer(url, { maxZoom: 19, attribution: TILES_ATTRIBUTION }).addTo(this.#map);
    this.#map.getContainer().classList.add("tiled");
  }

  recolour() {
    this.#colours = Object.fromEntries(COLOURS.map((name) => [name, colour(name)]));
    this.#redraw();
  }

  // Devices or listings came, went or changed.
  show() {
    const offers = new Map(), points = [];
    for (const listing of this.#state.listings.values()) if (listing.device_id) offers.set(listing.device_id, listing);
    for (const device of this.#state.devices.values()) {
      if (device.latitude === null || device.latitude === undefined) continue;
      const [x, y] = mercator(device.latitude, device.longitude);
      const listing = offers.get(device.id) ?? null;
      points.push({ x, y, device, listing });
      if (listing) offers.delete(device.id);
    }
    const joined = new Set(points.map((point) => point.listing?.id));
    for (const listing of this.#state.listings.values()) {
      if (joined.has(listing.id)) continue;
      const [x, y] = mercator(listing.latitude, listing.longitude);
      points.push({ x, y, device: null, listing });
    }
    this.#points = points;
    this.#groups = null;
    this.#empty.hidden = points.length > 0;
    if (!this.#fitted && points.length) this.#fit(points);
    this.#redraw();
  }

  // Only the devices' power changed.
  showPowers() { this.#redraw(); }

  #fit(points) {
    this.#fitted = true;
    const places = points.map(({ device, listing }) => [(device ?? listing).latitude, (device ?? listing).longitude]);
    const edge = 2.2 * rem();
    this.#map.fitBounds(L.latLngBounds(places), { maxZoom: 14, animate: false, padding: [edge, edge] });
  }

  #redraw() {
    if (this.#drawing) return;
    this.#drawing = true;
    requestAnimationFrame(() => { this.#drawing = false; this.#draw(); });
  }

  #draw() {
    const view = this.#place(), context = this.#context;
    if (!view.width || !view.height) return;
    for (const point of this.#points) point.radius = radius(this.#state.power(point.device), view.em);
    this.#groups ??= grouped(this.#points, view.scale, this.#map.getZoom(), view.em);
    const edge = 3 * view.em;
    this.#shown = this.#groups
      .map((group) => ({ ...group, x: group.x - view.left, y: group.y - view.top, radius: group.points.length === 1 ? group.points[0].radius : group.radius }))
      .filter(({ x, y }) => x > -edge && y > -edge && x < view.width + edge && y < view.height + edge);
    const taken = new TakenBoxes(4 * view.em);
    for (const { x, y, radius: size } of this.#shown) taken.add({ left: x - size, right: x + size, top: y - size, bottom: y + size });
    for (const box of controls(view)) taken.add(box);
    const cities = this.#tiled ? [] : this.#base.namePlaces(context, view, taken, true);
    const labels = this.#labels(view, taken);
    context.clearRect(0, 0, view.width, view.height);
    if (!this.#tiled) this.#drawBase(context, view, taken, cities);
    for (const label of labels) drawLabel(context, label, view.em, this.#colours);
    for (const group of this.#shown) drawGroup(context, group, view.em, this.#colours);
  }

  #drawBase(context, view, taken, cities) {
    this.#base.drawLand(context, view, this.#colours);
    this.#base.drawDensity(context, view, this.#points, this.#colours);
    drawGraticule(context, view, taken, this.#colours);
    const towns = this.#base.namePlaces(context, view, taken, false);
    this.#base.drawNames(context, view, [...cities, ...towns], this.#colours);
  }

  // Puts the canvas over the map and returns what of the world it shows.
  #place() {
    const { x: width, y: height } = this.#map.getSize(), ratio = globalThis.devicePixelRatio || 1;
    if (this.#canvas.width !== Math.round(width * ratio) || this.#canvas.height !== Math.round(height * ratio)) {
      this.#canvas.width = Math.round(width * ratio);
      this.#canvas.height = Math.round(height * ratio);
      this.#canvas.style.width = `${width}px`;
      this.#canvas.style.height = `${height}px`;
    }
    L.DomUtil.setPosition(this.#canvas, this.#map.containerPointToLayerPoint([0, 0]));
    this.#context.setTransform(ratio, 0, 0, ratio, 0, 0);
    const corner = this.#map.getPixelBounds().min, bounds = this.#map.getBounds();
    return {
      width, height, em: rem(), scale: 256 * 2 ** this.#map.getZoom(), left: corner.x, top: corner.y,
      bounds: { south: bounds.getSouth(), north: bounds.getNorth(), west: bounds.getWest(), east: bounds.getEast() },
    };
  }

  // Prices where there is room for them; the others are in the tooltips.
  #labels(view, taken) {
    const labels = [];
    this.#context.font = `600 ${0.72 * view.em}px system-ui, sans-serif`;
    for (const group of this.#shown) {
      const text = offerText(group.points);
      if (!text) continue;
      const width = this.#context.measureText(text).width + 0.7 * view.em;
      const box = labelPlace(taken, view, group, width, 1.15 * view.em, 0.2 * view.em);
      if (box) labels.push({ text, box, unmetered: group.points.length === 1 && !group.points[0].listing.device_id });
    }
    return labels;
  }

  #at(place) {
    if (!place) return null;
    const near = this.#shown.filter(({ x, y, radius: size }) => Math.hypot(x - place.x, y - place.y) <= size + 4);
    return near[0] ?? null;
  }

  #hover(place) {
    const group = this.#at(place), key = group && `${group.x}:${group.y}`;
    if (key === this.#hovered) return;
    this.#hovered = key;
    this.#map.getContainer().classList.toggle("pointing", Boolean(group));
    if (!group) return this.#map.closeTooltip(this.#tooltip);
    this.#tooltip.setLatLng(this.#map.containerPointToLatLng([group.x, group.y - group.radius])).setContent(this.#about(group));
    this.#map.openTooltip(this.#tooltip);
  }

  #choose(place) {
    const group = this.#at(place);
    if (!group) return;
    if (group.points.length > 1) {
      const places = group.points.map(({ device, listing }) => [(device ?? listing).latitude, (device ?? listing).longitude]);
      const before = this.#map.getZoom();
      this.#map.fitBounds(L.latLngBounds(places).pad(0.2), { maxZoom: 18, animate: false });
      if (this.#map.getZoom() <= before) this.#map.setView(places[0], Math.min(18, before + 2), { animate: false });
      return;
    }
    const [{ device, listing }] = group.points;
    const id = device?.id ?? listing.device_id;
    if (id) this.#open(id);
  }

  #about({ points }) {
    const box = element("span");
    if (points.length > 1) {
      const devices = points.filter((point) => point.device), offers = points.filter((point) => point.listing);
      box.append(element("strong", [devices.length && plural(devices.length, "device"), offers.length && plural(offers.length, "listing")].filter(Boolean).join(", ")));
      box.append(element("br"), watts(devices.reduce((sum, { device }) => sum + (this.#state.power(device) ?? 0), 0)), " now");
      return box;
    }
    const [{ device, listing }] = points;
    const fault = device?.fault_code ? ` (${device.fault_code})` : "";
    box.append(element("strong", device?.name ?? this.#state.names.of(listing.seller_id)));
    if (device) box.append(element("br"), `${device.status}${fault} · ${watts(this.#state.power(device))}`);
    if (listing) box.append(element("br"), `${money(Number(listing.price_per_kwh))}/kWh · ${energy(Number(listing.energy_amount_kwh))} kWh${listing.device_id ? "" : " · unmetered"}`);
    return box;
  }
}

// Where Leaflet's buttons, its scale and the attribution stand.
function controls({ width, height, em }) {
  return [
    { left: 0, top: 0, right: 4 * em, bottom: 6 * em }, { left: 0, top: height - 2 * em, right: 6 * em, bottom: height },
    { left: width - 11 * em, top: height - 1.6 * em, right: width, bottom: height },
  ];
}

const energy = (kwh) => fixed(kwh, kwh >= 10 ? 0 : kwh >= 1 ? 1 : 2);
const plural = (number, what) => `${number} ${what}${number === 1 ? "" : "s"}`;
const radius = (power_w, em) => em * (0.36 + Math.min(0.44, Math.sqrt(Math.max(0, power_w ?? 0)) / 180));

function offerText(points) {
  const offers = points.filter(({ listing }) => listing).map(({ listing }) => listing);
  if (!offers.length) return null;
  const lowest = money(Math.min(...offers.map((listing) => Number(listing.price_per_kwh))));
  if (points.length === 1) return `${lowest} · ${energy(Number(offers[0].energy_amount_kwh))} kWh`;
  return offers.length === 1 ? lowest : `${offers.length} from ${lowest}`;
}
