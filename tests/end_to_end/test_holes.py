"""Whatever dies, no client has a hole in what it was told, unless it was told so.

`make test-all` runs a short version. A long one, or the same one again:
`SOLARHUB_TEST_TURMOIL=60s SOLARHUB_TEST_SEED=7 pytest tests/end_to_end/test_holes.py`.
"""

import asyncio
from collections.abc import AsyncIterator, Callable, Coroutine
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from functools import partial
from pathlib import Path
from random import Random
from typing import Any
from uuid import UUID

import pytest

from core import tokens
from core.feed import Subscription
from core.listings import ListingPatch, change, event_of
from core.settings import DatabaseSettings
from db import listings, schema
from db.errors import database_errors
from db.pool import Connection, Pool, open_pool
from simulators.feed import FeedClient
from solarhub import embedded
from tests.end_to_end.pictures import Client, State, holes
from tests.end_to_end.turmoil import Backing, Door, Part, chosen_seed, lasts_s
from tests.support.databases import postgres
from tests.support.people import BANGALORE, add_listing, add_user
from tests.support.ports import free
from tests.support.waiting import eventually

CLIENTS = 50
USERS = 10
LISTINGS = 100
WRITERS = 6
SECRET = "a secret of this test, and of no one else"
ELSEWHERE = (28.6139, 77.2090)
RADIUS_KM = 20
EACH_EVERY_S = 10
SETTLES_WITHIN_S = 60

# Every state that commits, whoever wrote it, and whether it may be merged with a later one.
_RECORD_STATES = """
CREATE TABLE committed_states (
    listing_id uuid, version int, status text, price_per_kwh text, is_update bool,
    PRIMARY KEY (listing_id, version));
CREATE FUNCTION record_state() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    INSERT INTO committed_states VALUES
        (NEW.id, NEW.version, NEW.status, NEW.price_per_kwh::text, NEW.status = OLD.status);
    RETURN NULL;
END $$;
CREATE TRIGGER record_state AFTER UPDATE ON energy_listings
    FOR EACH ROW EXECUTE FUNCTION record_state();
"""
_STATES = "SELECT listing_id, version, status, price_per_kwh, is_update FROM committed_states"
_PICTURE = "SELECT id, version, status, price_per_kwh::text AS price FROM energy_listings"


@dataclass(slots=True)
class World:
    """The hub, and those who change listings."""

    chance: Random
    database: Backing
    redis: Backing
    relays: list[Part]
    hubs: list[Part]
    door: Door
    pool: Pool
    listing_ids: list[UUID]
    user_ids: list[UUID]

    def accidents(self) -> list[Callable[[], Coroutine[Any, Any, None]]]:
        """All that may happen, each of it about as bad as the next."""
        away_s = partial(self.chance.choice, (0.0, 0.5, 1.5))
        return [
            lambda: self.chance.choice(self.relays).kill(away_s=away_s()),
            lambda: self._kill_both(self.relays, away_s()),
            lambda: self.chance.choice(self.hubs).kill(away_s=away_s()),
            lambda: self._kill_both(self.hubs, away_s()),
            lambda: self.redis.kill(away_s=away_s()),
            lambda: self.redis.kill(away_s=away_s(), forgets=True),
            lambda: self.database.kill(away_s=away_s()),
        ]

    async def _kill_both(self, parts: list[Part], away_s: float) -> None:
        async with asyncio.TaskGroup() as tasks:
            for part in parts:
                tasks.create_task(part.kill(away_s=away_s))

    async def picture(self, within: Callable[[UUID], bool]) -> dict[UUID, State]:
        """Return the listings as they are now; wait for the database if necessary."""
        while True:
            try:
                rows = await self.pool.fetch(_PICTURE)
            except database_errors():
                await asyncio.sleep(0.1)
                continue
            return {
                r["id"]: State(r["version"], r["status"], r["price"])
                for r in rows
                if within(r["id"])
            }


class TakenBack(Exception):
    """A change is not to be, after all."""


async def change_often(world: World, chance: Random) -> None:
    """Change listings until cancelled; now and then a change is taken back."""
    while True:
        try:
            async with world.pool.acquire() as conn, conn.transaction():
                await change_one(conn, chance.choice(world.listing_ids), chance)
                if chance.random() < 0.1:
                    raise TakenBack
        except TakenBack:
            pass
        except database_errors():
            await asyncio.sleep(0.1)
        await asyncio.sleep(chance.uniform(0, 0.03))


async def change_one(conn: Connection, listing_id: UUID, chance: Random) -> None:
    """Pause it, let it go on, or change its price: as its seller would."""
    before = await listings.lock(conn, listing_id)
    assert before is not None
    if chance.random() < 0.5:
        wanted = ListingPatch(price_per_kwh=Decimal(chance.randint(1, 99_999)) / 10_000)
    else:
        wanted = ListingPatch(status="active" if before.status == "paused" else "paused")
    after = change(before, wanted, serves=True, now=datetime.now(UTC))
    await listings.change(conn, after)
    await listings.announce(conn, listing_id, event_of(before, after))


async def suffer(world: World, turmoil_s: float) -> None:
    """Let all that may happen happen, once every few seconds, at any time and all at once."""

    async def after(wait_s: float, accident: Callable[[], Coroutine[Any, Any, None]]) -> None:
        await asyncio.sleep(wait_s)
        await accident()

    async with asyncio.TaskGroup() as tasks:
        for accident in world.accidents() * max(1, round(turmoil_s / EACH_EVERY_S)):
            tasks.create_task(after(world.chance.uniform(0, turmoil_s), accident))


async def cut_off_some(world: World) -> None:
    """Clients lose their connections all the time."""
    while True:
        await asyncio.sleep(world.chance.uniform(0, 0.5))
        world.door.cut_off(min(world.chance.randint(1, 5), world.door.clients()))


@asynccontextmanager
async def world_of(directory: Path, chance: Random) -> AsyncIterator[World]:
    async with AsyncExitStack() as stack:
        database = Backing(postgres, directory / "postgres")
        redis = Backing(embedded.valkey, directory / "valkey")
        for server in (database, redis):
            stack.push_async_callback(server.stop)
            await server.start()
        settings = DatabaseSettings(database_url=database.url)
        await schema.migrate(settings)
        ports = [free(), free()]
        common = {
            "SOLARHUB_DATABASE_URL": database.url,
            "SOLARHUB_REDIS_URL": redis.url,
            "SOLARHUB_JWT_SECRET": SECRET,
        }
        relays = [Part("relay", directory / f"relay-{n}.log", common) for n in range(2)]
        hubs = [
            Part(
                "realtime",
                directory / f"hub-{n}.log",
                {**common, "SOLARHUB_REALTIME_PORT": str(port)},
            )
            for n, port in enumerate(ports)
        ]
        for part in (*relays, *hubs):
            await part.start()
            stack.push_async_callback(part.end)
        pool = await stack.enter_async_context(open_pool(settings, application_name="test"))
        await pool.execute(_RECORD_STATES)
        seller = await add_user(pool, "host")
        listing_ids = [
            await add_listing(pool, seller, place=BANGALORE if n % 2 else ELSEWHERE)
            for n in range(LISTINGS)
        ]
        users = [await add_user(pool) for _ in range(USERS)]
        door = Door(ports, chance)
        await stack.enter_async_context(door.standing_open())
        yield World(
            chance, database, redis, relays, hubs, door, pool, listing_ids, [u.id for u in users]
        )


def clients_of(world: World) -> list[Client]:
    """Some want everything, some what is near, some one listing."""
    clients = []
    for n in range(CLIENTS):
        one = world.listing_ids[n]
        near = frozenset(world.listing_ids[1::2])
        match n % 3:
            case 0:
                wanted, within = Subscription("listings"), frozenset(world.listing_ids)
            case 1:
                wanted, within = Subscription("listings:near", *BANGALORE, RADIUS_KM), near
            case _:
                wanted, within = Subscription(f"listing:{one}"), frozenset([one])
        clients.append(Client(wanted, partial(world.picture, within.__contains__)))
    return clients


def feed_of(world: World, n: int, client: Client) -> FeedClient:
    async def token() -> str:
        return tokens.sign(
            SECRET, user_id=world.user_ids[n % USERS], email="asha@example.org", role="buyer",
            now=datetime.now(UTC), ttl=timedelta(minutes=15),
        )  # fmt: skip

    return FeedClient(
        f"ws://127.0.0.1:{world.door.port}/ws", [client.subscription], token=token,
        rng=Random(world.chance.random()), retry_max_s=1,
    )  # fmt: skip


async def settled(world: World, clients: list[Client]) -> bool:
    """Return True if all is published and every client has the state of the database."""
    assert not await world.pool.fetchval("SELECT EXISTS (SELECT FROM outbox)")
    truth = await world.picture(lambda _: True)
    for n, client in enumerate(clients):
        assert client.stretches, f"client {n} was never let in"
        picture = client.picture()
        wrong = {one_id for one_id, state in picture.items() if truth[one_id] != state}
        assert not wrong, f"client {n} ({client.subscription.channel}) is behind in {wrong}"
    return True


Committed = dict[UUID, dict[int, tuple[State, bool]]]


async def committed_states(pool: Pool) -> Committed:
    committed: Committed = {}
    for row in await pool.fetch(_STATES):
        state = State(row["version"], row["status"], row["price_per_kwh"])
        committed.setdefault(row["listing_id"], {})[state.version] = (state, row["is_update"])
    return committed


async def cancelled(*tasks: asyncio.Task[None]) -> None:
    """End them. Raises what one of them failed by."""
    for task in tasks:
        task.cancel()
    for task in tasks:
        with suppress(asyncio.CancelledError):
            await task


def print_summary(clients: list[Client], committed: Committed) -> None:
    told = sum(len(told.events) for client in clients for _, told in client.told())
    states = sum(map(len, committed.values()))
    reloads = sum(len(client.stretches) - 1 for client in clients)
    print(f"{states} states committed, {told} told, {reloads} reloads of {len(clients)} clients")


@pytest.mark.slow
async def test_no_client_has_a_hole_that_it_was_not_told_of(data: Path) -> None:
    turmoil_s, seed = lasts_s(8), chosen_seed()
    print(f"the same again: SOLARHUB_TEST_TURMOIL={turmoil_s:g}s SOLARHUB_TEST_SEED={seed}")
    async with world_of(data, Random(seed)) as world:
        clients = clients_of(world)
        listening = [
            asyncio.create_task(client.run(feed_of(world, n, client)))
            for n, client in enumerate(clients)
        ]
        writing = [
            asyncio.create_task(change_often(world, Random(seed + n))) for n in range(WRITERS)
        ]
        cutting = asyncio.create_task(cut_off_some(world))
        try:
            await eventually(lambda: all(client.stretches for client in clients), within_s=60)
            await suffer(world, turmoil_s)
        finally:
            await cancelled(cutting, *writing)
        await eventually(lambda: settled(world, clients), within_s=SETTLES_WITHIN_S)
        await cancelled(*listening)
        committed = await committed_states(world.pool)
    found = [
        f"client {n} ({client.subscription.channel}), {listing_id}: {hole}"
        for n, client in enumerate(clients)
        for listing_id, told in client.told()
        for hole in holes(told, committed.get(listing_id, {}))
    ]
    print_summary(clients, committed)
    assert not found, "\n".join(found[:20])
    for part in (*world.relays, *world.hubs):
        assert "Traceback" not in part.log.read_text()
