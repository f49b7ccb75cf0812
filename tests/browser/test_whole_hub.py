"""The control room of a whole hub, with homes that the simulators play."""

import asyncio
import os
import sys
from pathlib import Path

import pytest
from playwright.async_api import expect

from core.settings import DatabaseSettings
from solarhub import admin
from tests.browser.conftest import Visits
from tests.support.hubs import hub

_HOMES = ("devices", "--count", "4", "--rate", "2", "--sun", "noon")
_EMAIL, _PASSWORD = "admin@example.org", "correct horse battery"


@pytest.mark.slow
async def test_simulated_homes_appear_measure_and_offer(data: Path, visits: Visits) -> None:
    with hub(data) as running:
        run = await asyncio.to_thread(running.wait_ready)
        database = DatabaseSettings(database_url=str(run["database_url"]))
        await admin.create(database, _EMAIL, _PASSWORD, 4)
        link = await admin.sign_in_link(database, _EMAIL, str(run["api_url"]))
        async with visits(link) as visit:
            page = visit.page
            await expect(page.locator("#state")).to_have_text("live", timeout=20_000)
            homes = await asyncio.create_subprocess_exec(
                sys.executable, "-m", "solarhub", "simulate", *_HOMES, "--data", str(data),
                env=dict(os.environ),
                stdout=asyncio.subprocess.DEVNULL, stderr=asyncio.subprocess.DEVNULL,
            )  # fmt: skip
            try:
                statuses = page.locator("#devices .status[data-key=online]")
                await expect(statuses).to_have_count(4, timeout=60_000)
                await expect(page.locator("#devices .number").first).to_contain_text("W")
                await expect(page.locator("#identity")).to_have_class("holds")
                await expect(page.locator("#counts")).to_contain_text("4")
                await page.locator("#devices button").first.click()
                await expect(page.locator("#energy .bar.measured").first).to_be_attached(
                    timeout=60_000
                )
                await expect(page.locator("#offer")).to_contain_text("follows the meter")
            finally:
                homes.terminate()
                await homes.wait()
            assert visit.complained() == []
