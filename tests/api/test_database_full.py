"""The API while its database lacks disk, memory or connections, and after that."""

import asyncio

import pytest
from structlog.testing import capture_logs

from api.http import errors
from api.http.errors import DatabaseFaults
from core.settings import DatabaseSettings
from db.errors import UNAVAILABLE
from db.pool import Pool
from tests.api.conftest import Api, code_of, serving
from tests.support.people import add_listing, add_user
from tests.support.shortages import lacking
from tests.support.waiting import eventually

METHODS = "/api/v1/payment-methods"
PURCHASE = "/api/v1/marketplace/purchase"
UPI = {"kind": "upi", "label": "My UPI", "provider_ref": "tok_1"}


async def ready(api: Api) -> bool:
    return (await api.call("GET", "/readyz")).is_success


@pytest.mark.parametrize(
    ("sqlstate", "shortage"),
    [
        ("53000", "at a limit of its resources"),
        ("53100", "disk of the database is full"),
        ("53200", "out of memory"),
        ("53300", "takes no more connections"),
        ("53400", "at a limit of its resources"),
    ],
)
async def test_a_shortage_of_the_database_is_reported_until_it_is_over(
    api: Api, pool: Pool, monkeypatch: pytest.MonkeyPatch, sqlstate: str, shortage: str
) -> None:
    buyer = await add_user(pool)
    assert await ready(api)
    async with lacking(pool, "payment_methods", sqlstate):
        response = await api.call("POST", METHODS, buyer, json=UPI)
        assert (response.status_code, code_of(response)) == (503, "database_unavailable")
        assert int(response.headers["Retry-After"]) > 0
        assert "No space" not in response.text
        readiness = await api.call("GET", "/readyz")
        assert (readiness.status_code, code_of(readiness)) == (503, "not_ready")
        assert shortage in readiness.json()["message"]
        assert (await api.call("GET", METHODS, buyer)).is_success
    assert (await api.call("POST", METHODS, buyer, json=UPI)).is_success
    monkeypatch.setattr(errors, "_FAULT_REMEMBERED_S", 0.5)
    await eventually(lambda: ready(api), within_s=15)


async def test_readiness_notices_a_full_disk_by_a_write_of_its_own(
    database: DatabaseSettings, pool: Pool
) -> None:
    """Without temporary files, the write of readiness fails as on a full disk."""
    name = await pool.fetchval("SELECT current_database()")
    await pool.execute(f'ALTER DATABASE "{name}" SET temp_file_limit = 0')
    async with serving(database) as api:
        response = await api.call("GET", "/readyz")
        assert (response.status_code, code_of(response)) == (503, "not_ready")
        assert (await api.call("GET", "/healthz")).is_success


async def test_no_buyer_of_a_batch_is_charged_while_the_disk_is_full(api: Api, pool: Pool) -> None:
    listing_id = await add_listing(pool, await add_user(pool, "host"))
    buyers = [await add_user(pool, balance=100) for _ in range(10)]
    order = {"listing_id": str(listing_id), "energy_kwh": "0.5"}
    async with lacking(pool, "energy_transactions"):
        calls = (api.call("POST", PURCHASE, buyer, json=order) for buyer in buyers)
        assert {response.status_code for response in await asyncio.gather(*calls)} == {503}
    assert await pool.fetchval("SELECT min(balance) FROM wallets WHERE balance > 0") == 100
    for buyer in buyers:
        await api.post(PURCHASE, buyer, order)


async def test_a_shortage_is_logged_once_a_second(pool: Pool) -> None:
    now = 100.0
    faults = DatabaseFaults(pool, monotonic=lambda: now)
    async with lacking(pool, "users"):
        with pytest.raises(UNAVAILABLE) as raised:
            await add_user(pool)
    with capture_logs() as logged:
        for _ in range(1000):
            faults.record(raised.value)
        now += 1
        faults.record(raised.value)
    assert [line["event"] for line in logged] == ["database_exhausted"] * 2
    assert [line["repeated"] for line in logged] == [0, 999]
