"""The machine's Chromium, and pages in it that may neither complain nor be refused anything."""

import shutil
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any
from uuid import UUID

import pytest
from playwright.async_api import ConsoleMessage, Page, async_playwright, expect
from prometheus_client import CollectorRegistry

from core.settings import DatabaseSettings, RealtimeSettings, RedisSettings
from db.pool import Pool
from realtime import relay, server
from solarhub.admin import sign_in_link
from solarhub.ports import free
from tests.api.conftest import JWT_SECRET, Api, serving
from tests.conftest import require
from tests.realtime.conftest import running
from tests.support.people import Person, add_user

_ARGUMENTS = [
    "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run",
    "--disable-background-networking", "--disable-component-update", "--disable-sync",
]  # fmt: skip
_TELL_VIOLATIONS = """
document.addEventListener("securitypolicyviolation", (refused) =>
  console.error("refused by the policy:", refused.violatedDirective, refused.blockedURI));
"""
_MEASURE = """
INSERT INTO telemetry (device_id, time, power_w, energy_wh) VALUES ($1, $2, $3, 1000)
"""
_SEEN = "UPDATE device_states SET status = 'online', last_seen_at = now() WHERE device_id = $1"
_LOST = "ERR_CONNECTION_REFUSED"  # what a page that waits for its feed can't help logging


@dataclass(slots=True)
class Visit:
    """A page, and what it complained of."""

    page: Page
    complaints: list[str] = field(default_factory=list)

    def hear(self, said: ConsoleMessage) -> None:
        if said.type == "error":
            self.complaints.append(said.text)

    def complained(self) -> list[str]:
        return [complaint for complaint in self.complaints if _LOST not in complaint]


Visits = Callable[..., AbstractAsyncContextManager[Visit]]


@pytest.fixture
async def visits() -> AsyncIterator[Visits]:
    program = require("chromium", shutil.which("chromium"))
    async with async_playwright() as playwright:
        browser = await playwright.chromium.launch(executable_path=program, args=_ARGUMENTS)

        @asynccontextmanager
        async def visit(url: str, **options: Any) -> AsyncIterator[Visit]:
            context = await browser.new_context(**options)
            page = await context.new_page()
            page.set_default_timeout(20_000)
            await page.add_init_script(_TELL_VIOLATIONS)
            visited = Visit(page)
            page.on(
                "console",
                lambda said: said.type == "error" and visited.complaints.append(said.text),
            )
            page.on("pageerror", lambda error: visited.complaints.append(str(error)))
            await page.goto(url)
            yield visited
            await context.close()

        yield visit
        await browser.close()


@dataclass(frozen=True, slots=True)
class Room:
    """A hub, its parts in this process; `hub` starts the live feed, which can be stopped alone."""

    api: Api
    database: DatabaseSettings
    redis: RedisSettings
    feed_port: int
    admin: Person

    @asynccontextmanager
    async def feed(self) -> AsyncIterator[None]:
        settings = RealtimeSettings(jwt_secret=JWT_SECRET, realtime_port=self.feed_port)
        async with running(
            lambda started: server.run(
                settings, self.redis, self.database, registry=CollectorRegistry(), started=started
            )
        ):
            yield

    @property
    def url(self) -> str:
        return str(self.api.http.base_url).rstrip("/")

    async def link(self) -> str:
        return await sign_in_link(self.database, self.admin.email, self.url)


@pytest.fixture
async def room(
    pool: Pool, database: DatabaseSettings, redis_settings: RedisSettings
) -> AsyncIterator[Room]:
    port = free()
    async with AsyncExitStack() as stack:
        api = await stack.enter_async_context(
            serving(database, redis_settings, realtime_url=f"ws://127.0.0.1:{port}/ws")
        )
        await stack.enter_async_context(
            running(
                lambda started: relay.run(
                    database, redis_settings, registry=CollectorRegistry(), started=started
                )
            )
        )
        yield Room(api, database, redis_settings, port, await add_user(pool, "admin"))


async def is_live(page: Page) -> None:
    await expect(page.locator("#state")).to_have_text("live", timeout=20_000)


async def measure(pool: Pool, device_id: UUID, power_w: float) -> None:
    await pool.execute(_MEASURE, device_id, datetime.now(UTC), power_w)
    await pool.execute(_SEEN, device_id)
