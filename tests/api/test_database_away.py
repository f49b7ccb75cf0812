"""The database goes and comes back; the API stays."""

from pathlib import Path

from core.settings import DatabaseSettings
from db import schema
from tests.api.conftest import Api, code_of, data_of, serving
from tests.support.databases import postgres
from tests.support.people import PASSWORD
from tests.support.waiting import eventually

ASHA = {"email": "asha@example.org", "password": PASSWORD}


async def works(api: Api) -> bool:
    return (await api.call("POST", "/api/v1/auth/login", json=ASHA)).is_success


async def test_the_api_says_so_while_its_database_is_stopped_and_recovers_by_itself(
    data: Path,
) -> None:
    directory = data / "postgres"
    with postgres(directory, durable=False) as first:
        database = DatabaseSettings(database_url=first.url)
        await schema.migrate(database)
        # What the server of the next block is reached by too: its data are where they were.
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
