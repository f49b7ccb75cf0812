// The control room: signs in, loads what there is, and lets the live feed keep it up to date.

import { Oversight } from "./decisions.js";
import { DeviceView } from "./device.js";
import { DeviceList } from "./devices.js";
import { Feed, FeedRefused } from "./feed.mjs";
import { Flow } from "./flow.js";
import { RoomMap } from "./map.js";
import { showAudit, showMarket } from "./market.js";
import { Session, SignedOut } from "./session.js";
import { showSetAside } from "./set_aside.js";
import { State } from "./state.js";

const DRAW_EVERY_MS = 250;
const MARKET_EVERY_MS = 30_000;
const SILENT_AFTER_MS = 3_500; // the flow is told each second
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
  const { url } = await session.get("/realtime");
  const state = new State();
  const view = new DeviceView(session, state, () => oversight.load());
  const open = (id) => view.open(id);
  const oversight = new Oversight(session, open);
  const map = new RoomMap($("map"), open);
  const list = new DeviceList(state, open);
  const flow = new Flow($("sparks"), $("identity"));
  const page = {
    devices: () => { map.showDevices(state.devices); list.show(); view.showFacts(); },
    power: () => { map.showPowers(state.devices); list.show(); view.showPower(); view.showFacts(); },
    listings: () => { map.showListings(state.listings); showMarket(state); view.showFacts(); },
    flow: () => flow.show(state.samples),
    market: () => showMarket(state),
  };
  const stale = drawing(page);
  themes(() => { map.recolour(); flow.recolour(); view.recolour(); });

  let tiled = false;
  const load = shared(async () => {
    const [what, flow, market, trades] = await Promise.all(
      ["/admin/map", "/admin/flow", "/admin/market", "/admin/trades?limit=50"].map((path) => session.get(path)));
    await oversight.load();
    if (!tiled) map.tiles(what.tiles_url);
    tiled = true;
    state.load({ map: what, flow, market, trades });
    await showSetAside(session);
    Object.keys(page).forEach((part) => stale(part));
  });
  audits();
  setInterval(async () => {
    const market = await session.get("/admin/market").catch(() => null);
    if (market) state.counts = market.listings;
    await oversight.load().catch(() => null);
    await showSetAside(session).catch(() => null);
    stale("market");
  }, MARKET_EVERY_MS);

  const heard = connection();
  const feed = new Feed({
    url, token: () => session.token(), onReload: load, subscriptions: [{ channel: "admin" }, { channel: "listings" }],
    onEvent: (event) => {
      if (event.type === "admin.flow") heard(event.data);
      const part = state.take(event);
      if (part) stale(part);
    },
  });
  feed.run().catch((error) => {
    if (error instanceof FeedRefused || error instanceof SignedOut) location.reload();
  });
}

// Draws what changed, a few times a second at most, and not while nobody looks.
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

// Says plainly whether what is shown is live.
function connection() {
  let heardAt = null;
  const tell = (key, text) => {
    const state = $("state");
    if (state.textContent === text) return;
    state.dataset.state = key;
    state.textContent = text;
  };
  let outbox_age_s = 0;
  tell("waiting", "connecting …");
  setInterval(() => {
    if (heardAt === null) return;
    const silent_s = Math.round((Date.now() - heardAt) / 1000);
    if (Date.now() - heardAt > SILENT_AFTER_MS) tell("offline", `offline for ${silent_s} s, reconnecting`);
    else if (outbox_age_s > BEHIND_AFTER_S) tell("behind", `behind by ${Math.round(outbox_age_s)} s`);
    else tell("live", "live");
  }, 500);
  return (flow) => { heardAt = Date.now(); outbox_age_s = flow.outbox_age_s; };
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

function themes(recolour) {
  const button = $("theme"), root = document.documentElement;
  const show = () => button.setAttribute("aria-pressed", String(root.dataset.theme === "dark"));
  button.onclick = () => {
    root.dataset.theme = root.dataset.theme === "dark" ? "light" : "dark";
    localStorage.setItem("theme", root.dataset.theme);
    show();
    recolour();
  };
  show();
}

enter();
