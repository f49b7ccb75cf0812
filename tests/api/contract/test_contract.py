"""Schemathesis finds no request whose answer differs from the documentation.

`make test` sends a few requests for each operation, `make test-all` hundreds.
"""

import asyncio
import contextlib
import json
import os
import sys
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from datetime import timedelta
from functools import partial

import httpx
import pytest

from core.settings import DatabaseSettings
from db.audit import audit
from db.pool import Pool
from tests.api.conftest import JWT_SECRET, token_of
from tests.api.test_every_route import OPERATIONS, ROLES
from tests.support.people import Person, add_device, add_listing, add_user
from tests.support.ports import free
from tests.support.waiting import eventually

# Examples per operation. Buyers and investors have few operations of their own.
EXAMPLES = {"buyer": 50, "host": 100, "investor": 50, "admin": 100}
EXAMPLES_QUICK = 3
OF_EACH = 8


async def world(pool: Pool, me: Person) -> dict[str, list[str]]:
    """Return ids of the caller and of others, by the name of the parameter that takes them."""
    seller = await add_user(pool, "host", balance=1000)
    hosts = [seller, me] if me.role == "host" else [seller]
    devices = [await add_device(pool, host) for host in hosts for _ in range(OF_EACH)]
    listings = [await add_listing(pool, host, kwh=1000) for host in hosts for _ in range(OF_EACH)]
    people = [me, seller, *[await add_user(pool) for _ in range(3)]]
    methods = await pool.fetch(
        """
        INSERT INTO payment_methods (user_id, kind, label, provider, provider_ref)
        SELECT id, 'upi', 'UPI', 'sandbox', 'tok' FROM unnest($1::uuid[]) AS id RETURNING id
        """,
        [person.id for person in people for _ in range(3)],
    )
    return {
        "device_id": [str(id_) for id_ in devices],
        "listing_id": [str(id_) for id_ in listings],
        "user_id": [str(person.id) for person in people],
        "seller_id": [str(seller.id)],
        "payment_method_id": [str(row["id"]) for row in methods],
        "method_id": [str(row["id"]) for row in methods],
    }


@asynccontextmanager
async def api(database: DatabaseSettings) -> AsyncIterator[str]:
    """Run `solarhub api` as a process of its own. Yields its URL."""
    port = free()
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "solarhub", "api",
        env={
            **os.environ,
            "SOLARHUB_API_PORT": str(port),
            "SOLARHUB_BCRYPT_ROUNDS": "4",
            "SOLARHUB_DATABASE_URL": database.database_url,
            # As long as in the other tests: a busy machine may be slow.
            "SOLARHUB_DATABASE_CONNECT_TIMEOUT": "30s",
            "SOLARHUB_DATABASE_STATEMENT_TIMEOUT": "30s",
            "SOLARHUB_JWT_SECRET": JWT_SECRET,
            "SOLARHUB_LOG_LEVEL": "warning",
            "SOLARHUB_PAYMENT_PROVIDERS": "sandbox",
        },
    )  # fmt: skip
    url = f"http://127.0.0.1:{port}"
    try:
        async with httpx.AsyncClient(verify=False) as http:
            await eventually(partial(_is_ready, http, url), within_s=60)
        yield url
    finally:
        process.terminate()
        await process.wait()


@pytest.mark.slow
@pytest.mark.parametrize("role", EXAMPLES)
async def test_every_answer_is_as_documented(
    database: DatabaseSettings, pool: Pool, role: str
) -> None:
    await conform(database, pool, role, "--max-examples", str(EXAMPLES[role]))


async def test_a_few_answers_of_each_operation_are_as_documented(
    database: DatabaseSettings, pool: Pool
) -> None:
    quick = ("--phases", "examples,fuzzing", "--max-examples", str(EXAMPLES_QUICK))
    await conform(database, pool, "host", *quick)


async def conform(database: DatabaseSettings, pool: Pool, role: str, *options: str) -> None:
    """Run Schemathesis as a user of a role: all answers conform, and the ledger balances."""
    me = await add_user(pool, role, balance=10_000)
    known = await world(pool, me)
    token = token_of(me, ttl=timedelta(hours=1))
    async with api(database) as url:
        schemathesis = await asyncio.create_subprocess_exec(
            sys.executable, "-m", "schemathesis.cli", "run", f"{url}/openapi.json",
            "--checks", "all", "--exclude-checks", "positive_data_acceptance",
            "--generation-deterministic", *options, *without_refused(role),
            "--continue-on-failure", "--no-color", "--warnings", "off",
            "--header", f"Authorization: Bearer {token}",
            env={
                **os.environ,
                "SCHEMATHESIS_HOOKS": "tests.api.contract.hooks",
                "SOLARHUB_CONTRACT_WORLD": json.dumps(known),
            },
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.STDOUT,
        )  # fmt: skip
        said, _ = await schemathesis.communicate()
    assert schemathesis.returncode == 0, said.decode()
    async with pool.acquire() as conn:
        assert [check.name async for check in audit(conn, database) if not check.ok] == []


def without_refused(role: str) -> Iterator[str]:
    """Yield the options that exclude what the API refuses to a role.

    The refusals have a test of their own: test_every_route.test_other_roles_are_refused.
    """
    for operation in OPERATIONS:
        if role not in (operation.roles or ROLES):
            yield f"--exclude-name={operation.name}"


async def _is_ready(http: httpx.AsyncClient, url: str) -> bool:
    with contextlib.suppress(httpx.TransportError):
        return (await http.get(f"{url}/readyz")).is_success
    return False
