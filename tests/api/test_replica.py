"""Reads from a replica, which are never older than their requests."""

import asyncio
import re
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from urllib.parse import parse_qs, urlsplit

import asyncpg
import pytest
from prometheus_client import CollectorRegistry
from structlog.testing import capture_logs

from api.http.metrics import ApiMetrics
from api.http.read_routing import ReadRouting, open_read_routing
from core.settings import DatabaseSettings
from db.pool import Connection, Pool, open_pool
from tests.api.conftest import Api, data_of, serving
from tests.conftest import data_directory
from tests.support import databases, replicas
from tests.support.hubs import run
from tests.support.people import Person, add_device, add_listing, add_user
from tests.support.replicas import Pair, Replica
from tests.support.waiting import eventually

LISTINGS = "/api/v1/marketplace/listings"


@pytest.fixture(scope="module")
def servers() -> Iterator[tuple[Pair, str]]:
    """A primary with its replica, and the name of a migrated database on them."""
    with (
        data_directory() as directory,
        replicas.pair(directory) as pair,
        databases.template(pair.primary_url) as template,
    ):
        yield pair, template


@pytest.fixture
def replica(servers: tuple[Pair, str]) -> Replica:
    return servers[0].replica


@pytest.fixture
async def database(servers: tuple[Pair, str]) -> AsyncIterator[DatabaseSettings]:
    """A database of the test's own, with the URL of its replica."""
    pair, template = servers
    async with databases.clone(pair.primary_url, template) as url:
        yield DatabaseSettings(database_url=url, database_read_url=pair.replica_url(url))


@pytest.fixture
async def api(database: DatabaseSettings) -> AsyncIterator[Api]:
    """An API whose reads the replica answers."""
    async with serving(database) as api:
        await eventually(lambda: replica_is(api, "ok"))
        yield api


async def replica_is(api: Api, state: str) -> bool:
    return bool(data_of(await api.call("GET", "/readyz"))["replica"] == state)


async def metric(api: Api, name: str) -> float:
    """Return the value of a metric, 0 before it exists."""
    metrics = (await api.call("GET", "/metrics")).text
    found = re.search(rf"^{re.escape(name)} (\S+)$", metrics, re.M)
    return float(found[1]) if found else 0.0


async def answered(api: Api, server: str) -> float:
    return await metric(api, f'solarhub_reads_total{{server="{server}"}}')


async def buys(api: Api, buyer: Person, listing_id: object) -> str:
    order = {"listing_id": str(listing_id), "energy_kwh": "0.1"}
    bought = await api.post("/api/v1/marketplace/purchase", buyer, order)
    return str(bought["id"])


async def bought_last(api: Api, buyer: Person) -> str:
    page = await api.get("/api/v1/marketplace/transactions", buyer, limit=1)
    return str(page["items"][0]["id"])


async def test_reads_come_from_the_replica(api: Api, pool: Pool) -> None:
    host, admin = await add_user(pool, "host"), await add_user(pool, "admin")
    listing_id, device_id = await add_listing(pool, host), await add_device(pool, host)
    circle = {"lat": 12.97, "lon": 77.59, "radius_km": 5}
    for person, path, params in (
        (host, LISTINGS, {}),
        (host, LISTINGS, {"sort": "price_per_kwh"}),
        (host, f"{LISTINGS}/{listing_id}", {}),
        (host, "/api/v1/location/nearby-listings", circle),
        (host, "/api/v1/location/nearby-users", circle),
        (host, "/api/v1/location/nearby-devices", circle),
        (host, f"/api/v1/devices/{device_id}/latest", {}),
        (host, f"/api/v1/devices/{device_id}/telemetry", {"resolution": "raw"}),
        (host, f"/api/v1/devices/{device_id}/telemetry", {"resolution": "1h"}),
        (host, f"/api/v1/devices/{device_id}/energy", {}),
        (host, f"/api/v1/devices/{device_id}/rejections", {}),
        (host, "/api/v1/marketplace/summary", {}),
        (host, "/api/v1/marketplace/transactions", {}),
        (admin, "/api/v1/admin/map", {}),
        (admin, "/api/v1/admin/market", {}),
        (admin, "/api/v1/admin/trades", {}),
    ):
        before = await answered(api, "replica")
        await api.get(path, person, **params)
        assert await answered(api, "replica") > before, path
    assert await answered(api, "primary") == 0


async def test_a_user_sees_a_purchase_at_once(api: Api, pool: Pool) -> None:
    buyer = await add_user(pool, balance=1000)
    listing_id = await add_listing(pool, await add_user(pool, "host"))
    for _ in range(50):
        assert await buys(api, buyer, listing_id) == await bought_last(api, buyer)
    assert await answered(api, "replica") > 0


async def test_a_replica_that_is_behind_is_not_used_until_it_has_caught_up(
    api: Api, pool: Pool, replica: Replica
) -> None:
    buyer = await add_user(pool, balance=1000)
    listing_id = await add_listing(pool, await add_user(pool, "host"))
    await replica.hold_up()
    try:
        bought = await buys(api, buyer, listing_id)
        assert await bought_last(api, buyer) == bought
        assert await replica_is(api, "degraded")
        assert await answered(api, "primary") >= 1
        assert await metric(api, "solarhub_replica_ok") == 0
        assert await metric(api, "solarhub_replica_behind_bytes") > 0
    finally:
        await replica.go_on()
    await eventually(lambda: replica_is(api, "ok"))
    before = await answered(api, "replica")
    assert await bought_last(api, buyer) == bought
    assert await answered(api, "replica") == before + 1


async def test_the_primary_answers_while_the_replica_is_unavailable(
    api: Api, pool: Pool, replica: Replica
) -> None:
    buyer = await add_user(pool)
    await api.get(LISTINGS, buyer)
    replica.kill()
    try:
        for _ in range(5):
            await api.get(LISTINGS, buyer)
        await eventually(lambda: replica_is(api, "degraded"))
        assert (await api.call("GET", "/readyz")).status_code == 200
        assert await answered(api, "primary") > 0
    finally:
        replica.start()
    await eventually(lambda: replica_is(api, "ok"))
    before = await answered(api, "replica")
    await api.get(LISTINGS, buyer)
    assert await answered(api, "replica") == before + 1


async def test_a_replica_that_stops_responding_is_not_waited_for(
    api: Api, pool: Pool, replica: Replica
) -> None:
    buyer = await add_user(pool)
    await api.get(LISTINGS, buyer)
    with replica.frozen():
        await api.get(LISTINGS, buyer)
        assert await replica_is(api, "degraded")
        assert await answered(api, "primary") == 1
    await eventually(lambda: replica_is(api, "ok"))


async def test_without_the_primary_the_replica_is_not_used(database: DatabaseSettings) -> None:
    """A replica alone can't tell whether it shows everything that was committed."""
    unavailable = database.model_copy(
        update={"database_url": "postgresql://solarhub@127.0.0.1:1/none"}
    )
    async with serving(unavailable) as api:
        assert (await api.call("GET", "/readyz")).status_code == 503


@asynccontextmanager
async def reading(database: DatabaseSettings) -> AsyncIterator[ReadRouting]:
    metrics = ApiMetrics(CollectorRegistry())
    async with (
        open_pool(database, application_name="test") as pool,
        open_read_routing(database, pool, metrics) as reads,
    ):
        yield reads


async def is_replica(conn: Connection) -> bool:
    return bool(await conn.fetchval("SELECT pg_is_in_recovery()"))


async def until_ok(reads: ReadRouting) -> None:
    await eventually(lambda: reads.replica_state == "ok")


async def test_the_replica_refuses_writes(database: DatabaseSettings) -> None:
    async with reading(database) as reads:
        await until_ok(reads)
        with pytest.raises(asyncpg.ReadOnlySQLTransactionError):
            await reads.run(lambda conn: conn.execute("DELETE FROM outbox"))


async def test_a_read_on_a_replica_that_dies_is_answered_by_the_primary(
    database: DatabaseSettings, replica: Replica
) -> None:
    started = asyncio.Event()

    async def slow(conn: Connection) -> bool:
        if not await is_replica(conn):
            return False
        started.set()
        return bool(await conn.fetchval("SELECT true FROM pg_sleep(60)"))

    async with reading(database) as reads, asyncio.timeout(20):
        await until_ok(reads)
        answer = asyncio.ensure_future(reads.run(slow))
        await started.wait()
        with replica.frozen():
            assert await answer is False
        await until_ok(reads)
        started.clear()
        answer = asyncio.ensure_future(reads.run(slow))
        await started.wait()
        replica.kill()
        try:
            assert await answer is False
        finally:
            replica.start()


async def test_a_read_that_replay_cancels_is_answered_by_the_primary(
    database: DatabaseSettings, pool: Pool
) -> None:
    """Replay drops a table that a read has locked, and so cancels the read."""
    await pool.execute("CREATE TABLE doomed (); GRANT SELECT ON doomed TO solarhub_api")
    started = asyncio.Event()

    async def slow(conn: Connection) -> bool:
        if not await is_replica(conn):
            return False
        async with conn.transaction():
            await conn.fetch("SELECT FROM doomed")
            started.set()
            return bool(await conn.fetchval("SELECT true FROM pg_sleep(60)"))

    async with reading(database) as reads, asyncio.timeout(20):
        await until_ok(reads)
        answer = asyncio.ensure_future(reads.run(slow))
        await started.wait()
        await pool.execute("DROP TABLE doomed")
        assert await answer is False
        await until_ok(reads)


async def test_a_server_that_is_no_replica_of_the_database_is_not_used(
    database: DatabaseSettings, servers: tuple[Pair, str]
) -> None:
    pair, _ = servers
    for url, why in (
        (database.database_url, "it is no replica"),
        (pair.replica.url, "it holds another database"),
    ):
        wrong = database.model_copy(update={"database_read_url": url})
        with capture_logs() as logs:
            async with reading(wrong) as reads:
                await eventually(lambda why=why, logs=logs: why in str(logs))
                assert reads.replica_state == "degraded"
                assert await reads.run(is_replica) is False


async def _copy(source: asyncio.StreamReader, sink: asyncio.StreamWriter) -> None:
    while data := await source.read(65536):
        sink.write(data)
    sink.close()


@asynccontextmanager
async def balancer(urls: Sequence[str]) -> AsyncIterator[str]:
    """A proxy to these servers: one connection to each in turn, then all to the last."""
    remaining = list(urls)

    async def forward(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        url = remaining.pop(0) if len(remaining) > 1 else remaining[0]
        socket = Path(parse_qs(urlsplit(url).query)["host"][0]) / ".s.PGSQL.5432"
        from_server, to_server = await asyncio.open_unix_connection(socket)
        await asyncio.gather(_copy(reader, to_server), _copy(from_server, writer))

    database = urlsplit(urls[0]).path
    async with await asyncio.start_server(forward, "127.0.0.1", 0) as server:
        port = server.sockets[0].getsockname()[1]
        yield f"postgresql://solarhub@127.0.0.1:{port}{database}?sslmode=disable"


async def test_a_url_that_leads_to_several_servers_is_not_used(database: DatabaseSettings) -> None:
    """The progress of one server says nothing about the others."""
    assert database.database_read_url is not None
    async with reading(database) as reads:
        await until_ok(reads)  # the replica has the database
    async with balancer([database.database_read_url, database.database_url]) as url:
        several = database.model_copy(update={"database_read_url": url})
        with capture_logs() as logs:
            async with reading(several) as reads:
                await until_ok(reads)
                assert await reads.run(is_replica) is False
                assert "it leads to several servers" in str(logs)


async def test_the_doctor_checks_the_replica(database: DatabaseSettings, data: Path) -> None:
    assert database.database_read_url is not None
    for read_url, expected in (
        (database.database_read_url, "ok   replica    streams, "),
        (database.database_url, "BAD  replica    not a streaming replica of the database"),
        ("postgresql://solarhub@127.0.0.1:1/none", "BAD  replica    "),
    ):
        urls = {"DATABASE_URL": database.database_url, "DATABASE_READ_URL": read_url}
        settings = {f"SOLARHUB_{name}": url for name, url in urls.items()}
        finished = await asyncio.to_thread(run, "doctor", "--data", str(data), **settings)
        assert expected in finished.stdout
        assert finished.returncode == 1  # Redis is missing
