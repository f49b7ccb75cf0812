"""Figures, lists, charts and the map of the control room, of a busy hub and an empty one."""

import re
from dataclasses import dataclass
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any
from uuid import UUID

import pytest
from axe_playwright_python.async_playwright import Axe
from playwright.async_api import Locator, Page, expect

from core.units import SLOT, slot_of
from db.pool import Pool
from tests.browser import scenes
from tests.browser.conftest import Room, Visits, is_live
from tests.support.people import add_device, add_listing, add_purchase, add_user

_SEEN = "UPDATE device_states SET status = $2, last_seen_at = now() WHERE device_id = $1"
_MEASURE = "INSERT INTO telemetry (device_id, time, power_w) VALUES ($1, $2, $3)"
_OUTLIER = """
UPDATE energy_interval SET generated_wh = 90000 WHERE device_id = $1 AND slot_start = $2
"""
_NAMED = "UPDATE devices SET name = $2 WHERE id = $1"
_CALLED = "UPDATE users SET full_name = $2 WHERE id = $1"
_TWELVE_HOURS = r"/\b\d{1,2}:\d\d(:\d\d)? ?[AP]M\b/i.test(document.body.innerText)"


@dataclass(frozen=True, slots=True)
class Scene:
    """A neighbourhood of 60 devices, and devices and listings that need care."""

    detailed: UUID  # a device with a day of intervals, one of which is an outlier
    silent: UUID  # offline; it measured 4.2 kW last


@pytest.fixture
async def scene(pool: Pool) -> Scene:
    detailed = await scenes.neighbourhood(pool)
    await pool.execute(_OUTLIER, detailed, slot_of(datetime.now(UTC)) - 60 * SLOT)
    host = await add_user(pool, "host")
    silent = await add_device(pool, host)
    await pool.execute(_NAMED, silent, "Aardvark")
    await pool.execute(_MEASURE, silent, datetime.now(UTC), 4200.0)
    await pool.execute(_SEEN, silent, "offline")
    seller, buyer = await add_user(pool, "host"), await add_user(pool, balance=100)
    await pool.execute(_CALLED, seller.id, "Sita Sells")
    await pool.execute(_CALLED, buyer.id, "Bina Buys")
    unmetered = await add_listing(pool, seller, kwh=5)
    await add_purchase(pool, buyer, unmetered, kwh=2)
    return Scene(detailed, silent)


async def test_a_busy_hub(room: Room, visits: Visits, scene: Scene, pool: Pool) -> None:
    options = {"locale": "en-US", "timezone_id": "America/New_York", "color_scheme": "light"}
    async with room.feed(), visits(await room.link(), **options) as visit:
        await is_live(visit.page)
        await headline(visit.page, pool)
        await device_list(visit.page, scene)
        await trades_and_listings(visit.page)
        await a_device(visit.page, scene)
        assert await visit.page.evaluate(_TWELVE_HOURS) is False
        await expect(visit.page.locator("#theme")).to_have_text("Dark theme")
        await visit.page.click("#theme")
        await expect(visit.page.locator("#theme")).to_have_text("Light theme")
        assert visit.complained() == []


async def headline(page: Page, pool: Pool) -> None:
    """Power of devices that are online only; energy, money, homes, price and CO₂ of today."""
    power_w = await pool.fetchval(
        "SELECT sum(power_w) FROM (SELECT DISTINCT ON (device_id) device_id, power_w FROM telemetry"
        " ORDER BY device_id, time DESC) t JOIN device_states USING (device_id)"
        " WHERE status IN ('online', 'fault')"
    )
    tiles = page.locator("#headline > div")
    await expect(tiles.nth(0).locator(".value")).to_have_text(f"{power_w / 1000:.1f} kW")
    await expect(tiles.nth(1).locator(".value")).to_have_text(_measured("k?Wh"))
    await expect(tiles.nth(2).locator(".value")).to_contain_text("₹")
    await expect(tiles.nth(2).locator(".about")).to_contain_text("kWh in")
    await expect(tiles.nth(3).locator(".value")).to_have_text("52 of 61")
    await expect(tiles.nth(3).locator(".about")).to_contain_text("8 offline, 1 with a fault")
    await expect(tiles.nth(4).locator(".about")).to_contain_text("below the grid’s ₹8.00")
    await expect(tiles.nth(5).locator(".value")).to_have_text(_measured("kg"))


def _measured(unit: str) -> Any:

    return re.compile(rf"^[\d.,]+ {unit}$")


async def device_list(page: Page, scene: Scene) -> None:
    """No power of a device that is offline; pages, sorting, filters."""
    silent = page.locator(f"[data-device='{scene.silent}']")
    await expect(silent.locator(".number").first).to_have_text("–")
    pager = page.locator("#devices-pager")
    await expect(pager).to_contain_text("1–50 of 61")
    await expect(page.locator("#devices tr")).to_have_count(50)
    await pager.get_by_label("Next page").click()
    await expect(page.locator("#devices tr")).to_have_count(11)
    await sort(page, "Name")
    await expect(page.locator("#devices .name").first).to_have_text("Aardvark")
    await sort(page, "Power")
    powers = page.locator("#devices tr td.number:nth-child(3)")
    shown = [float((await powers.nth(n).inner_text()).split()[0]) for n in range(3)]
    assert shown == sorted(shown, reverse=True)
    await page.select_option("#status", "fault")
    await expect(page.locator("#devices tr")).to_have_count(1)
    await expect(page.locator("#devices-count")).to_have_text("1 of 61")
    await expect(page.locator("#status option:checked")).to_have_text("fault (1)")
    await page.fill("#find", "nothing like it")
    await expect(page.locator("#devices")).to_contain_text("No device matches.")
    await page.select_option("#status", "")
    await page.fill("#find", "")


async def sort(page: Page, column: str) -> None:
    heading: Locator = page.locator("#devices-table th", has_text=column)
    await heading.get_by_role("button").click()
    await expect(heading).to_have_attribute(
        "aria-sort", "descending" if column == "Power" else "ascending"
    )


async def trades_and_listings(page: Page) -> None:
    """Buyers and sellers have names; what no meter measures is marked."""
    newest = page.locator("#trades tr").first
    await expect(newest).to_contain_text("Bina Buys")
    await expect(newest).to_contain_text("Sita Sells unmetered")
    await expect(page.locator("#slots .axis", has_text="₹/kWh")).to_have_count(1)
    await page.select_option("#metered", "unmetered")
    await expect(page.locator("#listings tr")).to_have_count(1)
    await expect(page.locator("#listings tr")).to_contain_text("Sita Sells")
    await page.select_option("#metered", "")


async def a_device(page: Page, scene: Scene) -> None:
    """Totals; nights as zero, gaps as bands, and an outlier that leaves the others readable."""
    await page.fill("#find", str(scene.detailed))
    await page.locator("#devices .name").click()
    await expect(page.locator("#device-totals tr")).to_have_count(5)
    await expect(page.locator("#device-totals tr").first).to_contain_text("kWh")
    await expect(page.locator("#device-facts")).to_contain_text("owner")
    await expect(page.locator("#energy .note")).to_contain_text("one slot is above the chart")
    await expect(page.locator("#energy .above")).to_have_count(1)
    heights = await page.eval_on_selector_all(
        "#energy .bar.measured", "bars => bars.map(bar => Number(bar.getAttribute('height')))"
    )
    assert heights.count(0) > 20, "a night has no bars"
    ordinary = sorted(heights)[-10]
    assert max(heights) < 2 * ordinary, "one spike does not flatten the others"
    gap = page.locator("#energy .bar.missing")
    assert float(await gap.first.get_attribute("height") or 0) >= max(heights) - 1
    await page.keyboard.press("Escape")
    await page.fill("#find", "")


_OVERLAPS = """
async ([count, zoom]) => {
  const { grouped, labelPlace, TakenBoxes } = await import("/static/map_layout.js");
  let seed = 7;
  const chance = () => (seed = (seed * 16807) % 2147483647) / 2147483647;
  const near = () => 0.7155 + (chance() + chance() - 1) * 0.002;
  const points = Array.from({ length: count }, () => ({ x: near(), y: near(), radius: 12 }));
  const groups = grouped(points, 256 * 2 ** zoom, zoom, 16);
  const taken = new TakenBoxes(64), labels = [], world = 256 * 2 ** zoom;
  const view = { width: world, height: world };
  for (const { x, y, radius } of groups)
    taken.add({ left: x - radius, right: x + radius, top: y - radius, bottom: y + radius });
  for (const group of groups) {
    const box = labelPlace(taken, view, group, 80, 18, 3);
    if (box) labels.push(box);
  }
  let covered = 0, collided = 0;
  groups.forEach((a, n) => groups.slice(n + 1).forEach((b) => {
    if (Math.hypot(a.x - b.x, a.y - b.y) < a.radius + b.radius) covered += 1;
  }));
  labels.forEach((a, n) => labels.slice(n + 1).forEach((b) => {
    if (a.left < b.right && b.left < a.right && a.top < b.bottom && b.top < a.bottom) collided += 1;
  }));
  const members = groups.reduce((sum, group) => sum + group.points.length, 0);
  return { covered, collided, members, labels: labels.length };
}
"""
_SCALES = """
async () => {
  const { ticks, usualTop, withGaps } = await import("/static/scales.js");
  const { State } = await import("/static/state.js");
  const state = new State(null);
  state.showHeadline({ now: "2026-03-01T06:00:00Z", pace: 3600 });
  await new Promise((after) => setTimeout(after, 100));
  const flat = Array.from({ length: 90 }, (_, n) => 5 + (n % 7));
  return {
    gaps: withGaps([0, 10, 20, 90, 100], [1, 2, 3, 4, 5], 30),
    spike: usualTop([...flat, 4000]), calm: usualTop(flat), few: usualTop([1, 50]),
    elapsed_s: (state.now() - Date.parse("2026-03-01T06:00:00Z")) / 1000,
    ticks: ticks(0, 10.4, 4).values, zero: ticks(0, 0, 2).values,
  };
}
"""


async def test_an_empty_hub_and_a_broken_one(room: Room, visits: Visits, pool: Pool) -> None:
    async with visits(await room.link()) as visit:
        page = visit.page
        async with room.feed():
            await is_live(page)
            await expect(page.locator("#devices")).to_contain_text("No devices yet.")
            await expect(page.locator("#listings")).to_contain_text("Nothing is on offer.")
            await expect(page.locator("#trades")).to_contain_text("No purchases yet.")
            await expect(page.locator(".map-empty")).to_be_visible()
            values = page.locator("#headline .value")
            await expect(values).to_have_text(["–", "0 Wh", "₹0.00", "0 of 0", "–", "0.0 kg"])
            found = await Axe().run(page)
            assert [
                v["id"]
                for v in found.response["violations"]
                if v["impact"] in ("serious", "critical")
            ] == []
            for count, zoom in ((300, 12), (2000, 10), (2000, 14), (2000, 16)):
                laid_out = await page.evaluate(_OVERLAPS, [count, zoom])
                assert (laid_out["covered"], laid_out["collided"]) == (0, 0)
                assert laid_out["members"] == count
                assert laid_out["labels"] > 5
            scales = await page.evaluate(_SCALES)
            assert scales["gaps"] == [[0, 10, 20, 55, 90, 100], [1, 2, 3, None, 4, 5]]
            assert scales["spike"] == {"top": 11, "above": 1, "highest": 4000}
            assert (scales["calm"]["above"], scales["few"]["above"]) == (0, 0)
            assert scales["elapsed_s"] >= 360, "the hub's clock may run faster"
            assert scales["ticks"][0] == 0
            assert scales["ticks"][-1] >= 10.4
        await expect(page.locator("#state")).to_contain_text("offline for")
        await expect(page.locator("#room")).to_have_attribute("data-state", "offline")
        assert visit.complained() == []


async def test_a_hub_that_cannot_answer_says_so(room: Room, visits: Visits) -> None:
    failing = {"success": False, "message": "The database does not answer.", "error": {}}
    async with room.feed(), visits(await room.link()) as visit:
        await is_live(visit.page)
        await visit.page.route(
            "**/api/v1/admin/map", lambda route: route.fulfill(status=503, json=failing)
        )
        await visit.page.reload()
        state = visit.page.locator("#state")
        await expect(state).to_have_text("can’t load: The database does not answer.")
        await visit.page.unroute("**/api/v1/admin/map")
        await is_live(visit.page)


_NAMES = """
async () => {
  const { Names } = await import("/static/names.js");
  const answers = {
    ravi: () => ({ full_name: "Ravi", email: "ravi@example.org" }),
    mute: () => ({ full_name: "", email: "mute@example.org" }),
    gone: () => { throw Object.assign(new Error("no such user"), { status: 404 }); },
    late: () => { throw Object.assign(new Error("unavailable"), { status: 503 }); },
  };
  const names = new Names({ get: async (path) => answers[path.split("/").at(-1)]() }, () => {});
  const ids = [...Object.keys(answers), null];
  const first = ids.map((id) => names.of(id));
  await new Promise((after) => setTimeout(after, 50));
  return [first, ids.map((id) => names.of(id))];
}
"""


async def test_a_buyer_who_was_not_known_yet_is_named(
    room: Room, visits: Visits, pool: Pool
) -> None:
    host = await add_user(pool, "host")
    listing_id = await add_listing(pool, host, kwh=5)
    async with room.feed(), visits(await room.link()) as visit:
        await is_live(visit.page)
        buyer = await add_user(pool, balance=100)
        await pool.execute(_CALLED, buyer.id, "Nina New")
        order = {"listing_id": str(listing_id), "energy_kwh": str(Decimal("1.25"))}
        await room.api.post("/api/v1/marketplace/purchase", buyer, order)
        newest = visit.page.locator("#trades tr").first
        await expect(newest).to_contain_text("Nina New")
        await expect(newest).to_contain_text("Host unmetered")
        first, later = await visit.page.evaluate(_NAMES)
        assert first == ["…", "…", "…", "…", "deleted account"]
        assert later == ["Ravi", "mute@example.org", "deleted account", "…", "deleted account"]
        assert visit.complained() == []
