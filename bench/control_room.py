"""Case `control-room`: the control room's page of a busy hub in a browser.

2,000 devices report every second, and 200 of their listings change. There is no contestant. The
case measures what a user notices: the first paint, the longest time for which the page did not
respond (long tasks, as browsers define them), and the growth of its memory.
"""

import asyncio
import random
import shutil
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from datetime import UTC, datetime, timedelta
from functools import partial
from itertools import count
from typing import Any

from bench import seed
from bench.database import analyze, audit, connected, environment
from bench.options import Options
from bench.processes import BenchError, free_port, listens, running, solarhub
from bench.result import Contestant, Result, Sample, Target
from core.ids import DeviceId
from core.settings import DatabaseSettings
from core.tasks import background_task
from db.pool import Connection, open_pool
from ingest.messages import IngestMessage, decode
from ingest.writer import write
from solarhub import admin, embedded

DEVICES = 2_000
_EMAIL, _PASSWORD = "admin@example.org", "correct horse battery"
_STARTS_WITHIN_S = 30
_CHANGED_PER_S = 200
_LATE_HORIZON = timedelta(days=7)
_SPREAD = """
UPDATE devices SET latitude = 12.8 + random() * 0.4, longitude = 77.4 + random() * 0.5
"""
_SPREAD_LISTINGS = """
UPDATE energy_listings l
   SET exact_latitude = d.latitude, exact_longitude = d.longitude, stated_kwh = 10
  FROM devices d WHERE d.id = l.device_id
"""
_CHANGE = """
WITH changed AS (
    UPDATE energy_listings SET price_per_kwh = 4 + random() * 4, version = version + 1
     WHERE id IN (SELECT id FROM energy_listings ORDER BY random() LIMIT $1) RETURNING id
)
SELECT count(announce_listing('listing.updated', l))
  FROM changed JOIN energy_listings l USING (id)
"""
_OBSERVE_LONG_TASKS = """
window.longest = 0;
new PerformanceObserver((list) => {
  for (const task of list.getEntries()) window.longest = Math.max(window.longest, task.duration);
}).observe({ type: "longtask", buffered: true });
"""
_PAINTED_MS = """
performance.getEntriesByName("first-contentful-paint")[0]?.startTime ?? Infinity
"""


async def control_room(options: Options) -> Result:
    """Measure the page for `page_seconds`."""
    async with options.server.hub_database() as database:
        async with connected(database) as conn:
            devices = await _devices(conn)
        async with _hub(options, database) as api_url, _activity(database, devices):
            found = await _observe(options, database, api_url)
        passed = await audit(database)
    return Result(
        case="control-room",
        what=f"the page, {DEVICES:,} devices and as many listings",
        unit="pages/s",
        contestants=[Contestant("hub", "Chromium, headless", [Sample(1000 / found["painted_ms"])])],
        targets=(
            Target("first paint ms", 2000, found["painted_ms"], at_most=True),
            Target("longest task ms", 200, found["longest_ms"], at_most=True),
            Target("heap growth MB", 5, found["grown_mb"], at_most=True),
        ),
        audit_passed=passed,
        parameters={"devices": DEVICES, "seconds": options.page_seconds, **found},
    )


async def _devices(conn: Connection) -> list[DeviceId]:
    devices = await seed.fleet(
        conn, devices=DEVICES, began_at=datetime.now(UTC) - timedelta(minutes=30)
    )
    await conn.execute(_SPREAD)
    await conn.execute(_SPREAD_LISTINGS)
    await analyze(conn)
    return devices


@asynccontextmanager
async def _hub(options: Options, database: DatabaseSettings) -> AsyncIterator[str]:
    """Run API, relay and live feed as processes; yield the URL of the API."""
    api_port, feed_port = free_port(), free_port()
    async with AsyncExitStack() as stack:
        redis = stack.enter_context(embedded.valkey(options.work / "valkey", durable=False))
        env = environment(database) | {
            "SOLARHUB_REDIS_URL": redis.url,
            "SOLARHUB_JWT_SECRET": options.jwt_secret,
            "SOLARHUB_API_PORT": str(api_port),
            "SOLARHUB_REALTIME_PORT": str(feed_port),
            "SOLARHUB_REALTIME_URL": f"ws://127.0.0.1:{feed_port}/ws",
            "SOLARHUB_LOG_LEVEL": "warning",
        }
        for part in ("relay", "realtime", "api"):
            child = await stack.enter_async_context(
                running(part, *solarhub(part), logs=options.work, env=env)
            )
            if part != "relay":
                port = api_port if part == "api" else feed_port
                await child.ready(partial(listens, port), within_s=_STARTS_WITHIN_S)
        yield f"http://127.0.0.1:{api_port}"


@asynccontextmanager
async def _activity(database: DatabaseSettings, devices: list[DeviceId]) -> AsyncIterator[None]:
    """Write a reading of every device each second, as an ingester does, and change listings."""
    async with open_pool(database, application_name="bench", max_size=2) as pool:

        async def change() -> None:
            for second in count():
                await write(pool, _messages(devices, second), _LATE_HORIZON)
                await pool.execute(_CHANGE, _CHANGED_PER_S)
                await asyncio.sleep(1)

        async with background_task(change()):
            yield


def _messages(devices: list[DeviceId], second: int) -> list[IngestMessage]:
    now = datetime.now(UTC)
    payloads = (f'{{"power_w": {random.uniform(0, 4000)}, "energy_wh": {second}}}' for _ in devices)
    messages = (
        decode(
            f"solar/{device}/telemetry", payload.encode(), received_at=now, acknowledge=lambda: None
        )
        for device, payload in zip(devices, payloads, strict=True)
    )
    return [message for message in messages if message is not None]


async def _observe(options: Options, database: DatabaseSettings, api_url: str) -> dict[str, float]:
    """Sign in, wait until the page is live, and measure it."""
    from playwright.async_api import async_playwright

    program = shutil.which("chromium")
    if program is None:
        raise BenchError("chromium is not installed: install your system's package of that name")
    await admin.create(database, _EMAIL, _PASSWORD, 4)
    link = await admin.sign_in_link(database, _EMAIL, api_url)
    async with async_playwright() as playwright:
        browser = await playwright.chromium.launch(
            executable_path=program, args=["--no-sandbox", "--disable-gpu"]
        )
        page = await browser.new_page(viewport={"width": 1440, "height": 900})
        await page.add_init_script(_OBSERVE_LONG_TASKS)
        await page.goto(link)
        await page.locator("#devices button").nth(49).wait_for()
        painted_ms = await page.evaluate(_PAINTED_MS)
        loading_ms = await page.evaluate("window.longest")
        await asyncio.sleep(10)
        await page.evaluate("window.longest = 0")
        before_mb = await _heap_mb(page)
        await asyncio.sleep(options.page_seconds)
        longest_ms = await page.evaluate("window.longest")
        grown_mb = await _heap_mb(page) - before_mb
        await browser.close()
    found = {
        "painted_ms": painted_ms, "loading_ms": loading_ms, "longest_ms": longest_ms,
        "heap_mb": before_mb, "grown_mb": grown_mb,
    }  # fmt: skip
    return {name: round(value, 1) for name, value in found.items()}


async def _heap_mb(page: Any) -> float:
    """Return the memory of the page's scripts after a garbage collection."""
    session = await page.context.new_cdp_session(page)
    await session.send("HeapProfiler.collectGarbage")
    used = await session.send("Runtime.getHeapUsage")
    await session.detach()
    return float(used["usedSize"]) / 1e6
