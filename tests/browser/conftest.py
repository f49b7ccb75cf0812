"""The machine's Chromium, and pages in it that may neither complain nor be refused anything."""

import shutil
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

import pytest
from playwright.async_api import ConsoleMessage, Page, async_playwright

from tests.conftest import require

_ARGUMENTS = [
    "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run",
    "--disable-background-networking", "--disable-component-update", "--disable-sync",
]  # fmt: skip
_TELL_VIOLATIONS = """
document.addEventListener("securitypolicyviolation", (refused) =>
  console.error("refused by the policy:", refused.violatedDirective, refused.blockedURI));
"""
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
