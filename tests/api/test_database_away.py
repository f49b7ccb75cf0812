"""The API while its database is unavailable, and after it is back."""

from datetime import timedelta
from pathlib import Path

from core.settings import DatabaseSettings
from db import schema
from db.pool import Pool
from tests.api.conftest import Api, code_of, data_of, serving
from tests.support.databases import postgres
from tests.support.people import PASSWORD, add_listing, add_user
from tests.support.waiting import eventually

ASHA = {"email": "asha@example.org", "password": PASSWORD}


async def works(api: Api) -> bool:
    return (await api.call("POST", "/api/v1/auth/login", json=ASHA)).is_success


async def test_the_api_answers_503_while_its_database_is_stopped_and_recovers(
    data: Path,
) -> None:
    directory = data / "postgres"
    with postgres(directory, durable=False) as first:
        database = DatabaseSettings(database_url=first.url)
        await schema.migrate(database)
        # The second server has the same data directory, and so the same URL.
        async with serving(database) as api:
            account = ASHA | {"full_name": "Asha Rao", "role": "buyer"}
            session = data_of(await api.call("POST", "/api/v1/auth/register", json=account))
            token = {"Authorization": f"Bearer {session['access_token']}"}
            assert await works(api)

            first.child.stop()
            for method, path, body in (
                ("POST", "/api/v1/auth/login", ASHA),
                ("GET", "/api/v1/wallet", None),
                ("GET", "/api/v1/marketplace/listings", None),
            ):
                response = await api.call(method, path, headers=token, json=body)
                assert (response.status_code, code_of(response)) == (503, "database_unavailable")
                assert response.json()["error"]["type"] == "DatabaseError"
                assert int(response.headers["Retry-After"]) > 0
            assert (await api.call("GET", "/readyz")).status_code == 503
            assert (await api.call("GET", "/healthz")).is_success

            with postgres(directory, durable=False) as second:
                assert second.url == first.url
                await eventually(lambda: works(api))
                assert (await api.call("GET", "/readyz")).is_success
                wallet = data_of(await api.call("GET", "/api/v1/wallet", headers=token))
                assert wallet["balance"] == "0.00"


async def test_a_statement_that_takes_too_long_is_answered_with_503_and_has_no_effect(
    database: DatabaseSettings, pool: Pool
) -> None:
    buyer = await add_user(pool, balance=100)
    listing_id = await add_listing(pool, await add_user(pool, "host"))
    impatient = database.model_copy(
        update={"database_statement_timeout": timedelta(milliseconds=200)}
    )
    order = {"listing_id": str(listing_id), "energy_kwh": 1}
    async with serving(impatient) as api:
        async with pool.acquire() as conn, conn.transaction():
            await conn.execute("SELECT FROM energy_listings FOR UPDATE")
            response = await api.call("POST", "/api/v1/marketplace/purchase", buyer, json=order)
        assert (response.status_code, code_of(response)) == (503, "database_unavailable")
        assert int(response.headers["Retry-After"]) > 0
        assert (await api.get("/api/v1/wallet", buyer))["balance"] == "100.00"
        await api.post("/api/v1/marketplace/purchase", buyer, order)
