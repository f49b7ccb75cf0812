"""PostgreSQL on a disk that is really full: refused, told, and healed by itself."""

from core.settings import DatabaseSettings
from db import schema
from db.pool import open_pool
from tests.api.conftest import Api, code_of, serving
from tests.support.databases import postgres
from tests.support.disks import filled, small_disk
from tests.support.people import Person, add_user
from tests.support.waiting import eventually

METHODS = "/api/v1/payment-methods"


async def refused(api: Api, person: Person) -> bool:
    """Add a row; return True if the disk had no room. A page of the table has room for some."""
    body = {"kind": "upi", "label": "UPI" * 30, "provider_ref": "tok_" + "x" * 90}
    response = await api.call("POST", METHODS, person, json=body)
    if response.is_success:
        return False
    assert (response.status_code, code_of(response)) == (503, "database_unavailable")
    assert int(response.headers["Retry-After"]) > 0
    return True


async def test_a_full_disk_is_told_and_nothing_is_left_to_do_when_it_has_room() -> None:
    with small_disk(300) as disk, postgres(disk / "postgres") as server:
        database = DatabaseSettings(database_url=server.url)
        await schema.migrate(database)
        async with serving(database, quota_payment_methods=1000) as api:
            async with open_pool(database, application_name="test") as pool:
                buyer = await add_user(pool)
            with filled(disk):
                await eventually(lambda: refused(api, buyer), within_s=30)
                ready = await api.call("GET", "/readyz")
                assert ready.status_code == 503
                assert "the disk of the database is full" in ready.json()["message"]
                assert (await api.call("GET", METHODS, buyer)).is_success

            async def works() -> bool:
                return (await api.call("GET", "/readyz")).is_success

            await eventually(works, within_s=15)
            assert not await refused(api, buyer)
