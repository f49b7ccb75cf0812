"""Screenshots of the control room for the documentation, of a demonstration that really runs.

`make pictures` runs this. It needs Chromium, and takes the six minutes in which the demonstration
plays a day.
"""

import asyncio
import shutil
import sys
import tempfile
from datetime import timedelta
from pathlib import Path
from zoneinfo import ZoneInfo

from playwright.async_api import Browser, Page, async_playwright

from core.clock import Clock
from core.settings import DatabaseSettings
from solarhub import admin
from tests.support.hubs import hub

# The hub's clock shows the hour of the pictures after the charts have filled with a day.
_HOUR, _FILLED_AFTER = 12, timedelta(hours=20)
_TRADES, _TRADES_WITHIN_MS = 12, 240_000
_ZONE = ZoneInfo("Asia/Kolkata")
_EMAIL, _PASSWORD = "pictures@example.org", "correct horse battery"
_ARGUMENTS = ["--no-sandbox", "--disable-gpu"]
_PICTURES = (
    ("light", "light", (1440, 900), False),
    ("dark", "dark", (1440, 900), True),
    ("phone", "light", (360, 780), False),
)


async def main(folder: Path) -> None:
    """Run the demonstration and write the pictures."""
    program = shutil.which("chromium")
    if program is None:
        sys.exit("Chromium is not installed: install your system's package of that name.")
    with tempfile.TemporaryDirectory() as data, hub(Path(data), "--demo") as demo:
        run = await asyncio.to_thread(demo.wait_ready)
        database = DatabaseSettings(database_url=str(run["database_url"]))
        await admin.create(database, _EMAIL, _PASSWORD, 4)
        async with async_playwright() as playwright:
            browser = await playwright.chromium.launch(executable_path=program, args=_ARGUMENTS)
            await _noon(Clock.parse(str(run["clock"])))
            for name, theme, size, opens in _PICTURES:
                link = await admin.sign_in_link(database, _EMAIL, str(run["api_url"]))
                page = await _visit(browser, link, theme, size)
                if opens:
                    await _open_device(page)
                await page.screenshot(path=folder / f"control-room-{name}.png")
                print(folder / f"control-room-{name}.png")
            await browser.close()
        demo.end()


async def _noon(clock: Clock) -> None:
    """Wait until the demonstration has lasted a day and it is noon where the homes are."""
    filled_at = (clock.now() + _FILLED_AFTER).astimezone(_ZONE)
    noon = filled_at.replace(hour=_HOUR, minute=0)
    if noon < filled_at:
        noon += timedelta(days=1)
    await asyncio.sleep(clock.real_s(noon - clock.now()))


async def _visit(browser: Browser, link: str, theme: str, size: tuple[int, int]) -> Page:
    """Return the page once it is live and shows purchases."""
    context = await browser.new_context(
        color_scheme="dark" if theme == "dark" else "light",
        viewport={"width": size[0], "height": size[1]},
        locale="en-IN",
        timezone_id=_ZONE.key,
    )
    page = await context.new_page()
    await page.goto(link)
    await page.locator("#state[data-state=live]").wait_for(timeout=60_000)
    await page.locator("#trades tr").nth(_TRADES - 1).wait_for(timeout=_TRADES_WITHIN_MS)
    await page.wait_for_timeout(3_000)
    return page


async def _open_device(page: Page) -> None:
    """Open the device that generates the most."""
    heading = page.locator("#devices-table th", has_text="Power")
    await heading.get_by_role("button").click()
    await page.locator("#devices .name").first.click()
    await page.locator("#energy .bar").first.wait_for(state="attached")
    await page.wait_for_timeout(2_000)


if __name__ == "__main__":
    asyncio.run(main(Path(sys.argv[1] if len(sys.argv) > 1 else "docs/images")))
