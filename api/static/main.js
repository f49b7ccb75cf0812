// The control room: signs in, loads what there is, and lets the live feed keep it up to date.

import { Oversight } from "./decisions.js";
import { DeviceView, midnight } from "./device.js";
import { DeviceList } from "./devices.js";
import { Feed, FeedRefused } from "./feed.mjs";
import { Flow } from "./flow.js";
import { Headline } from "./headline.js";
import { ListingList } from "./listings.js";
import { RoomMap } from "./map.js";
import { Market, showAudit } from "./market.js";
import { Names } from "./names.js";
import { Session, SignedOut } from "./session.js";
import { showSetAside } from "./set_aside.js";
import { State } from "./state.js";

const DRAW_EVERY_MS = 250;
const HEADLINE_EVERY_MS = 10_000;
const MARKET_EVERY_MS = 30_000;
const RETRY_MS = 3_000;
const SILENT_AFTER_MS = 3_500; // a sample of the flow comes each second
const BEHIND_AFTER_S = 3;
const $ = (id) => document.getElementById(id);

const session = new Session();

async function enter() {
  const code = new URLSearchParams(location.hash.slice(1)).get("code");
  history.replaceState(null, "", location.pathname);
  try {
    await (code ? session.signInByCode(code) : session.resume());
  } catch (error) {
    return askWho(code ? "This link was used already, or is too old. Sign in with your password." : "");
  }
  await room();
}

function askWho(why) {
  const form = $("sign-in");
  form.hidden = false;
  $("refusal").textContent = why;
  form.elements.email.focus();
  form.onsubmit = async (event) => {
    event.preventDefault();
    try {
      await session.signIn(form.elements.email.value, form.elements.password.value);
    } catch (error) {
      $("refusal").textContent = error.message;
      return;
    }
    form.reset();
    form.hidden = true;
    await room();
  };
}

async function room() {
  $("room").hidden = false;
  $("sign-out").hidden = false;
  $("sign-out").onclick = async () => { await session.signOut(); location.reload(); };
  let stale = () => {};
  const state = new State(new Names(session, () => ["devices", "listings", "market"].forEach((part) => stale(part))));
  const view = new DeviceView(session, state, () => oversight.load());
  const open = (id) => view.open(id);
  const oversight = new Oversight(session, open);
  const headline = new Headline($("headline"));
  const map = new RoomMap($("map"), state, open);
  const devices = new DeviceList(state, open), listings = new ListingList(state, open);
  const market = new Market(state);
  const flow = new Flow($("sparks"), $("identity"));
  const page = {
    devices: () => { headline.show(state); map.show(); devices.show(); view.showFacts(); },
    power: () => { headline.show(state); map.showPowers(); devices.show(false); view.showPower(); view.showFacts(); },
    listings: () => { map.show(); listings.show(); view.showFacts(); },
    flow: () => flow.show(state.samples),
    market: () => { headline.show(state); market.show(); },
  };
  stale = drawing(page);
  themes(() => { map.recolour(); flow.recolour(); view.recolour(); });
  const connection = new Connection();

  let tiled = false;
  const load = shared(async () => {
    const [what, flow, market, trades, headline] = await Promise.all([
      ...["/admin/map", "/admin/flow", "/admin/market", "/admin/trades?limit=50"].map((path) => session.get(path)), today(state),
    ]);
    await oversight.load();
    if (!tiled) map.tiles(what.tiles_url);
    tiled = true;
    state.load({ map: what, flow, market, trades, headline });
    await showSetAside(session);
    Object.keys(page).forEach((part) => stale(part));
  });
  audits();
  every(HEADLINE_EVERY_MS, async () => {
    state.showHeadline(await today(state));
    stale("devices");
  });
  every(MARKET_EVERY_MS, async () => {
    state.counts = (await session.get("/admin/market")).listings;
    await oversight.load();
    await showSetAside(session);
    stale("market");
  });

  const feed = new Feed({
    url: await feedUrl(connection), token: () => session.token(),
    onReload: () => load().catch((error) => { connection.failed(error); throw error; }),
    subscriptions: [{ channel: "admin" }, { channel: "listings" }],
    onEvent: (event) => {
      if (event.type === "admin.flow") connection.heard(event.data);
      const part = state.take(event);
      if (part) stale(part);
    },
  });
  feed.run().catch((error) => {
    if (error instanceof FeedRefused || error instanceof SignedOut) location.reload();
  });
}

// Figures since midnight of the viewer, by the hub's clock.
async function today(state) {
  const since = midnight(state.now());
  const headline = await session.get(`/admin/headline?from=${since.toISOString()}`);
  const day = midnight(headline.now);
  return day.getTime() === since.getTime() ? headline : session.get(`/admin/headline?from=${day.toISOString()}`);
}

async function feedUrl(connection) {
  for (;;) {
    try {
      return (await session.get("/realtime")).url;
    } catch (error) {
      if (error instanceof SignedOut) location.reload();
      connection.failed(error);
      await new Promise((again) => setTimeout(again, RETRY_MS));
    }
  }
}

// A failure is shown by the connection's state; the next time may succeed.
function every(ms, work) {
  setInterval(() => work().catch((error) => console.warn(error.message)), ms);
}

// Draws what changed, a few times a second at most, and not while the page is hidden.
function drawing(page) {
  const parts = new Set();
  setInterval(() => requestAnimationFrame(() => {
    for (const part of parts) page[part]();
    parts.clear();
  }), DRAW_EVERY_MS);
  return (part) => parts.add(part);
}

// Calls that come while one runs share it.
function shared(work) {
  let running = null;
  return () => (running ??= work().finally(() => (running = null)));
}

// Says whether what is shown is live.
class Connection {
  #heardAt = null; #outboxAge_s = 0;

  constructor() {
    this.#show("waiting", "connecting …");
    setInterval(() => this.#check(), 500);
  }

  heard(flow) {
    this.#heardAt = Date.now();
    this.#outboxAge_s = flow.outbox_age_s;
  }

  failed(error) {
    if (this.#heardAt === null) this.#show("offline", `can’t load: ${error.message}`);
  }

  #check() {
    if (this.#heardAt === null) return;
    const silent_ms = Date.now() - this.#heardAt;
    if (silent_ms > SILENT_AFTER_MS) this.#show("offline", `offline for ${Math.round(silent_ms / 1000)} s, reconnecting`);
    else if (this.#outboxAge_s > BEHIND_AFTER_S) this.#show("behind", `behind by ${Math.round(this.#outboxAge_s)} s`);
    else this.#show("live", "live");
  }

  #show(key, text) {
    const state = $("state");
    if (state.textContent === text) return;
    state.dataset.state = key;
    state.textContent = text;
    $("room").dataset.state = key;
  }
}

async function audits() {
  showAudit(await session.get("/admin/audit/last").catch(() => null));
  const button = $("audit-now");
  button.onclick = async () => {
    button.disabled = true;
    $("audit").textContent = "Auditing …";
    try {
      await session.get("/admin/audit");
      showAudit(await session.get("/admin/audit/last"));
    } catch (error) {
      $("audit").textContent = error.message;
    }
    button.disabled = false;
  };
}

// The button names the theme that it changes to.
function themes(recolour) {
  const button = $("theme"), root = document.documentElement;
  const other = () => (root.dataset.theme === "dark" ? "light" : "dark");
  const show = () => {
    button.textContent = other() === "dark" ? "Dark theme" : "Light theme";
    button.title = `Switch to the ${other()} theme`;
  };
  button.onclick = () => {
    root.dataset.theme = other();
    localStorage.setItem("theme", root.dataset.theme);
    show();
    recolour();
  };
  show();
}

enter();
