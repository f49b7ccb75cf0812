"""Payment providers: only named adapters run, and without any no money moves."""

from uuid import uuid4

import pytest

from core.settings import ApiSettings, DatabaseSettings, SettingError, load
from db.pool import Pool
from tests.api.conftest import JWT_SECRET, code_of, data_of, serving
from tests.api.test_wallet import (
    TOPUPS,
    WALLET,
    WITHDRAWALS,
    add_method,
    ask,
    pending_order,
    send_event,
)
from tests.support.people import add_user


def test_no_provider_is_enabled_by_default() -> None:
    assert load(ApiSettings, jwt_secret=JWT_SECRET).payment_providers == ()
    named = load(ApiSettings, jwt_secret=JWT_SECRET, payment_providers="sandbox, sandbox")
    assert set(named.payment_providers) == {"sandbox"}
    with pytest.raises(SettingError, match=r"SOLARHUB_PAYMENT_PROVIDERS: must be names .*sandbox"):
        load(ApiSettings, jwt_secret=JWT_SECRET, payment_providers="mint")


async def test_without_a_provider_no_money_moves_and_readyz_says_so(
    database: DatabaseSettings, pool: Pool
) -> None:
    buyer = await add_user(pool, balance=100)
    async with serving(database, payment_providers=()) as api:
        method = await add_method(api, buyer)
        for path in (TOPUPS, WITHDRAWALS):
            for one in (method, str(uuid4())):
                refused = await ask(api, path, buyer, 10, one, key="k")
                assert (refused.status_code, code_of(refused)) == (503, "payments_unavailable")
                assert "Retry-After" not in refused.headers
        ready = await api.call("GET", "/readyz")
        assert (ready.status_code, data_of(ready)["payments"]) == (200, "unavailable")
        assert (await api.get(WALLET, buyer))["balance"] == "100.00"
        # The secret of the sandbox does not help either.
        response = await send_event(api, await pending_order(pool, buyer))
        assert (response.status_code, code_of(response)) == (404, "not_found")
    assert await pool.fetchval("SELECT count(*) FROM idempotency_keys") == 0
    still_pending = "SELECT count(*) FROM payment_orders WHERE status = 'pending'"
    assert await pool.fetchval(still_pending) == 1


async def test_a_method_of_a_provider_that_does_not_run_is_refused(
    database: DatabaseSettings, pool: Pool
) -> None:
    buyer = await add_user(pool)
    async with serving(database) as api:
        method = await add_method(api, buyer)
        await pool.execute("UPDATE payment_methods SET provider = 'another'")
        assert code_of(await ask(api, TOPUPS, buyer, 10, method)) == "payments_unavailable"
    assert await pool.fetchval("SELECT count(*) FROM payment_orders") == 0
