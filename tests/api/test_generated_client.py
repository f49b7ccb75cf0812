"""A typed client that is generated from the documentation works against the API."""

import asyncio
import importlib
import json
import sys
from pathlib import Path
from typing import Any

import pytest

from db.pool import Pool
from tests.api.conftest import Api, token_of
from tests.support.people import add_listing, add_user

PACKAGE = "generated_solarhub_client"


async def generate(schema: dict[str, Any], directory: Path) -> None:
    (directory / "openapi.json").write_text(json.dumps(schema))
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "openapi_python_client", "generate",
        "--path", str(directory / "openapi.json"), "--output-path", str(directory / PACKAGE),
        "--meta", "none",
        stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.STDOUT,
    )  # fmt: skip
    said, _ = await process.communicate()
    assert process.returncode == 0, said.decode()
    # The generator leaves out what it does not support, and warns.
    assert b"WARNING parsing" not in said, said.decode()


@pytest.mark.slow
async def test_a_generated_client_signs_in_and_reads_listings(
    api: Api, pool: Pool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    schema = (await api.call("GET", "/openapi.json")).json()
    await generate(schema, tmp_path)
    monkeypatch.syspath_prepend(tmp_path)

    def of(module: str) -> Any:
        return importlib.import_module(f"{PACKAGE}.{module}")

    buyer, seller = await add_user(pool), await add_user(pool, "host")
    listing_id = await add_listing(pool, seller, kwh=3)
    client = of("client").AuthenticatedClient(str(api.http.base_url), token=token_of(buyer))
    async with client:
        me = await of("api.auth.me").asyncio(client=client)
        listings = await of("api.marketplace.list_listings").asyncio(client=client, limit=1)
        missing = await of("api.devices.get_device").asyncio(buyer.id, client=client)
    assert me.data.id == buyer.id
    assert [one.id for one in listings.data.items] == [listing_id]
    assert listings.data.items[0].energy_amount_kwh == "3.000"
    assert missing.error.code == "not_found"
