"""The control room as an administrator sees it, in a browser."""

import json
import os
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any
from uuid import UUID

import pytest
from axe_playwright_python.async_playwright import Axe
from playwright.async_api import expect

from core.enums import Queue
from core.units import slot_of
from db import failed_items
from db.failed_items import TRIES
from db.pool import Pool
from tests.browser import scenes
from tests.browser.conftest import Room, Visits, is_live, measure
from tests.support.people import add_device, add_listing, add_user

HOSTILE = '"><img src=x onerror="document.title=1"><script>document.title=2</script>'
_NAMED = "UPDATE devices SET name = $2 WHERE id = $1"
_COUNTED = """
INSERT INTO energy_interval (device_id, slot_start, generated_wh, surplus_wh, quality, reasons)
VALUES ($1, $2, $3, $3, $4, $5)
"""
_REFUSED = """
INSERT INTO rejections (device_id, topic, payload, reason) VALUES ($1, $2, $3, 'bad_value')
"""

_FLAGGED = """
INSERT INTO flags (device_id, kind, energy_wh, evidence)
VALUES ($1, 'near_limit', 12000, '{"hours": 2, "mean_power_w": 6000, "capacity_w": 5000}')
"""


async def test_a_link_signs_in_once_and_leaves_no_token_in_the_url(
    room: Room, visits: Visits
) -> None:
    link = await room.link()
    async with room.feed(), visits(link) as first, visits(link) as second:
        await is_live(first.page)
        assert first.page.url == f"{room.url}/"
        await expect(second.page.locator("#refusal")).to_contain_text("used already")
        assert first.complained() == []


async def test_who_is_no_administrator_stays_outside(
    room: Room, visits: Visits, pool: Pool
) -> None:
    host = await add_user(pool, "host")
    async with visits(room.url) as visit:
        await visit.page.fill("[name=email]", host.email)
        await visit.page.fill("[name=password]", "correct horse battery")
        await visit.page.click("#sign-in button")
        await expect(visit.page.locator("#refusal")).to_contain_text("administrators")
        await expect(visit.page.locator("#room")).to_be_hidden()


async def test_a_device_appears_measures_and_a_purchase_shows_up(
    room: Room, visits: Visits, pool: Pool
) -> None:
    host, buyer = await add_user(pool, "host"), await add_user(pool, balance=100)
    async with room.feed(), visits(await room.link()) as visit:
        await is_live(visit.page)
        body = {
            "name": "Lotus House", "kind": "inverter", "capacity_w": 5000,
            "latitude": 12.97, "longitude": 77.59,
        }  # fmt: skip
        device = await room.api.post("/api/v1/devices", host, body)
        item = visit.page.locator(f"[data-device='{device['id']}']")
        await expect(item).to_contain_text("Lotus House")
        await measure(pool, UUID(device["id"]), 2340.0)
        await expect(item).to_contain_text("2.34 kW")
        listing_id = await add_listing(pool, host, device_id=UUID(device["id"]), kwh=5)
        order = {"listing_id": str(listing_id), "energy_kwh": "1.25"}
        await room.api.post("/api/v1/marketplace/purchase", buyer, order)
        await expect(visit.page.locator("#trades tr").first).to_contain_text("1.250")
        assert visit.complained() == []


async def test_a_device_view_colours_energy_by_quality_and_says_why(
    room: Room, visits: Visits, pool: Pool
) -> None:
    host = await add_user(pool, "host")
    device_id = await add_device(pool, host)
    slot = slot_of(datetime.now(UTC))
    qualities = [
        ("measured", []), ("interpolated", ["gap"]), ("estimated", ["power_only"]),
        ("missing", ["gap"]), ("rejected", ["spike"]),
    ]  # fmt: skip
    for n, (quality, reasons) in enumerate(qualities):
        energy = Decimal(0) if quality in ("missing", "rejected") else Decimal(100 + n)
        await pool.execute(
            _COUNTED, device_id, slot - n * timedelta(minutes=15), energy, quality, reasons
        )
    await pool.execute(_REFUSED, device_id, f"solar/{device_id}/telemetry", HOSTILE.encode())
    await measure(pool, device_id, 900.0)
    async with room.feed(), visits(await room.link()) as visit:
        await visit.page.click(f"[data-device='{device_id}']")
        for quality, reasons in qualities:
            bar = visit.page.locator(f"#energy .bar.{quality}")
            await expect(bar).to_have_count(1)
            for reason in reasons:
                await expect(bar.locator("title")).to_contain_text(reason)
        fills = await visit.page.eval_on_selector_all(
            "#energy .bar", "bars => bars.map(bar => getComputedStyle(bar).fill)"
        )
        assert len(set(fills)) == len(qualities)
        await expect(visit.page.locator("#refused pre")).to_have_text(HOSTILE)
        await expect(visit.page.locator("#power canvas")).to_be_visible()
        await visit.page.keyboard.press("Escape")
        await expect(visit.page.locator("#device-panel")).to_be_hidden()
        assert visit.complained() == []


async def test_a_flag_is_looked_into_and_a_device_frozen_for_a_reason_that_is_kept(
    room: Room, visits: Visits, pool: Pool
) -> None:
    device_id = await add_device(pool, await add_user(pool, "host"))
    await pool.execute(_FLAGGED, device_id)
    async with room.feed(), visits(await room.link()) as visit:
        await is_live(visit.page)
        await expect(visit.page.locator("#flags li")).to_contain_text("6,000 W of 5,000 W")
        await visit.page.click("#flags button")
        await expect(visit.page.locator("#device-flags li")).to_contain_text("close to its limit")
        for button, reason, becomes in (
            ("#freeze", HOSTILE, "frozen"),
            ("#confirm", "Measured on site", "frozen"),
            ("#freeze", "All is well", "as its meter says"),
        ):
            await visit.page.fill("#decide [name=reason]", reason)
            await visit.page.click(button)
            newest = visit.page.locator("#actions li").first
            await expect(newest).to_contain_text(reason)
            await expect(newest).to_contain_text(room.admin.email)
            await expect(visit.page.locator("#decided")).to_contain_text(becomes)
        await expect(visit.page.locator("#flags li")).to_have_count(0)
        await expect(visit.page.locator("#confirm")).to_be_hidden()
        assert visit.complained() == []


async def test_hostile_names_are_text(room: Room, visits: Visits, pool: Pool) -> None:
    host, buyer = await add_user(pool, "host"), await add_user(pool, balance=100)
    await pool.execute("UPDATE users SET full_name = $1", HOSTILE)
    device_id = await add_device(pool, host)
    await pool.execute(_NAMED, device_id, HOSTILE)
    listing_id = await add_listing(pool, host, device_id=device_id, kwh=5)
    order = {"listing_id": str(listing_id), "energy_kwh": "1"}
    await room.api.post("/api/v1/marketplace/purchase", buyer, order)
    async with room.feed(), visits(await room.link()) as visit:
        await is_live(visit.page)
        await expect(visit.page.locator("#devices .name")).to_have_text(HOSTILE)
        await visit.page.click(f"[data-device='{device_id}']")
        await expect(visit.page.locator("#device-title")).to_have_text(HOSTILE)
        await expect(visit.page.locator("#sales tr")).to_contain_text(HOSTILE)
        await visit.page.locator("#map").hover(position={"x": 200, "y": 200})
        assert await visit.page.title() == "solarhub · control room"
        assert await visit.page.locator("main img[src=x]").count() == 0
        assert visit.complained() == []


async def test_it_comes_back_by_itself_and_has_missed_nothing(
    room: Room, visits: Visits, pool: Pool
) -> None:
    host = await add_user(pool, "host")
    async with visits(await room.link()) as visit:
        async with room.feed():
            await is_live(visit.page)
        await expect(visit.page.locator("#state")).to_contain_text("offline")
        body = {"name": "Came meanwhile", "kind": "meter", "capacity_w": 5000}
        await room.api.post("/api/v1/devices", host, body)
        async with room.feed():
            await is_live(visit.page)
            await expect(visit.page.locator("#devices")).to_contain_text("Came meanwhile")
        assert visit.complained() == []


async def test_an_identity_that_fails_is_told_as_such(
    room: Room, visits: Visits, pool: Pool
) -> None:
    """The database does not let it fail: the page is shown figures that lie."""
    async with room.feed(), visits(await room.link()) as visit:
        await is_live(visit.page)
        await expect(visit.page.locator("#identity")).to_have_class("holds")
        await visit.page.route("**/api/v1/admin/flow", _lying)
        await visit.page.reload()
        await expect(visit.page.locator("#identity.broken")).to_contain_text("≠")


async def _lying(route: Any) -> None:
    now = datetime.now(UTC)
    sample = {
        "received": 10, "stored": 3, "duplicate": 1, "rejected": 1, "events": 0, "outbox_depth": 0,
        "outbox_age_s": 0, "sockets": 1, "commit_to_socket_p50_ms": None,
        "commit_to_socket_p99_ms": None,
    }  # fmt: skip
    times = [(now + timedelta(hours=1, seconds=n)).isoformat() for n in range(3)]
    samples = [sample | {"time": time} for time in times]
    await route.fulfill(json={"success": True, "data": {"samples": samples}})


@pytest.mark.parametrize("theme", ["light", "dark"])
async def test_axe_finds_nothing_serious(
    room: Room, visits: Visits, pool: Pool, theme: str
) -> None:
    host = await add_user(pool, "host")
    device_id = await add_device(pool, host)
    await measure(pool, device_id, 1200.0)
    await add_listing(pool, host, device_id=device_id, kwh=5)
    await pool.execute(_FLAGGED, device_id)
    async with room.feed(), visits(await room.link(), color_scheme=theme) as visit:
        await is_live(visit.page)
        await expect(visit.page.locator("#devices button")).to_have_count(1)
        overview = await Axe().run(visit.page)
        await visit.page.click(f"[data-device='{device_id}']")
        await expect(visit.page.locator("#device-panel")).to_be_visible()
        device = await Axe().run(visit.page)
    for found in (overview, device):
        serious = [
            (violation["id"], [node["html"][:200] for node in violation["nodes"]])
            for violation in found.response["violations"]
            if violation["impact"] in ("serious", "critical")
        ]
        assert serious == [], json.dumps(serious, indent=1)


async def test_it_fits_a_phone_and_a_wall(room: Room, visits: Visits, pool: Pool) -> None:
    await add_device(pool, await add_user(pool, "host"))
    for width, height in ((360, 740), (3840, 2160)):
        size = {"width": width, "height": height}
        async with room.feed(), visits(await room.link(), viewport=size) as visit:
            await is_live(visit.page)
            overflow = "document.documentElement.scrollWidth - document.documentElement.clientWidth"
            assert await visit.page.evaluate(overflow) == 0


def test_the_page_speaks_to_the_feed_as_the_documentation_does() -> None:
    here = Path(__file__).parents[2]
    ours, documented = here / "api/static/feed.mjs", here / "docs/feed.mjs"
    assert ours.read_bytes() == documented.read_bytes()


@pytest.mark.slow
async def test_pictures_of_each_size_and_theme(
    room: Room, visits: Visits, pool: Pool, tmp_path: Path
) -> None:
    """`SOLARHUB_TEST_PICTURES` names a folder in which they stay, to be looked at."""
    kept = Path(os.environ.get("SOLARHUB_TEST_PICTURES", tmp_path))
    device_id = await scenes.neighbourhood(pool)
    async with room.feed():
        for name, theme, size, opens in (
            ("light", "light", {"width": 1440, "height": 900}, False),
            ("dark", "dark", {"width": 1440, "height": 900}, True),
            ("phone", "light", {"width": 360, "height": 780}, True),
            ("wall", "dark", {"width": 3840, "height": 2160}, False),
        ):
            async with visits(await room.link(), color_scheme=theme, viewport=size) as visit:
                await is_live(visit.page)
                await expect(visit.page.locator("#trades tr").first).to_be_visible()
                if opens:
                    await visit.page.fill("#find", "Lotus")
                    await visit.page.click(f"[data-device='{device_id}']")
                    await expect(visit.page.locator("#energy .bar").first).to_be_attached()
                    await expect(visit.page.locator("#sales tr").first).to_be_visible()
                await visit.page.evaluate("scrollTo(0, 0)")
                await visit.page.screenshot(path=kept / f"control-room-{name}.png")
                assert visit.complained() == []
            assert (kept / f"control-room-{name}.png").stat().st_size > 10_000


async def test_what_is_set_aside_is_told(room: Room, visits: Visits, pool: Pool) -> None:
    async with room.feed(), visits(await room.link()) as visit:
        await is_live(visit.page)
        await expect(visit.page.locator("#set-aside-count")).to_have_text("0")
    for _ in range(TRIES):
        await failed_items.note(pool, Queue.PAYMENTS, "order-7", f"400: {HOSTILE}")
    async with room.feed(), visits(await room.link()) as visit:
        await is_live(visit.page)
        await expect(visit.page.locator("#set-aside-count")).to_have_text("1")
        item = visit.page.locator("#set-aside li")
        await expect(item).to_contain_text("payment, ")
        await expect(item).to_contain_text(HOSTILE)
        await expect(item.locator("code")).to_have_text("order-7")
        assert visit.complained() == []
