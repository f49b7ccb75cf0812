"""`/docs` in a browser: every route, to be tried out, under the strict policy."""

from urllib.parse import urlsplit

from playwright.async_api import Page, expect

from core.settings import DatabaseSettings
from db.pool import Pool
from tests.api.conftest import serving, token_of
from tests.browser.conftest import Visits
from tests.support.people import add_user


async def try_out(page: Page, operation: str) -> None:
    block = page.locator(f"#operations-{operation}")
    await block.locator(".opblock-summary-control").click()
    await block.get_by_role("button", name="Try it out").click()
    await block.get_by_role("button", name="Execute", exact=True).click()
    answer = block.locator(".live-responses-table .response .response-col_status")
    await expect(answer).to_have_text("200")


async def test_the_documentation_needs_no_other_server_and_calls_the_api(
    database: DatabaseSettings, pool: Pool, visits: Visits
) -> None:
    buyer = await add_user(pool, balance=42)
    async with serving(database) as api, visits(f"{api.http.base_url}/docs") as visit:
        url, page = str(api.http.base_url), visit.page
        asked: set[str] = set()
        page.on("request", lambda request: asked.add(urlsplit(request.url).netloc))
        await page.reload()
        await expect(page.locator(".info .title")).to_contain_text("solarhub")
        documented = (await api.call("GET", "/openapi.json")).json()["paths"]
        operations = sum(len(methods) for methods in documented.values())
        await expect(page.locator(".opblock")).to_have_count(operations)
        await try_out(page, "health-healthz")

        await page.get_by_role("button", name="Authorize").click()
        await page.locator("#auth-bearer-value").fill(token_of(buyer))
        await page.locator(".auth-btn-wrapper button[type=submit]").click()
        await page.get_by_role("button", name="Close").click()
        await try_out(page, "wallet-get_wallet")
        await expect(page.locator("#operations-wallet-get_wallet")).to_contain_text("42.00")
        assert asked == {urlsplit(url).netloc}
        assert visit.complaints == []
