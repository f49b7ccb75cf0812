"""Ingesters of a group that start and end: which member reads which session."""

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import AbstractAsyncContextManager, AsyncExitStack, asynccontextmanager
from datetime import timedelta
from uuid import UUID, uuid4

import aiomqtt
import pytest
from prometheus_client import CollectorRegistry
from structlog.testing import capture_logs

from core.settings import DatabaseSettings
from db import ingest_sessions, ingesters
from db.ingest_sessions import Member, client_ids
from db.pool import Pool
from tests.ingest.test_service import holds, ingesting, telemetry
from tests.ingest.world import add_device
from tests.support.mosquitto import Mosquitto
from tests.support.waiting import eventually

GONE_AFTER = "2400ms"
MINUTE = timedelta(minutes=1)
TWO, THREE = client_ids("hub", 2), client_ids("hub", 3)

_STORED = "SELECT coalesce(sum(stored), 0)::int FROM device_states"
_COUNTS = """
SELECT sum(received)::int AS received, sum(stored)::int AS stored, sum(duplicate)::int AS duplicate
  FROM device_states
"""
_SESSIONS = "SELECT array_agg(client_id ORDER BY client_id) FROM ingest_sessions"


class Site:
    """A broker, a database, and devices with numbered readings."""

    def __init__(self, mosquitto: Mosquitto, database: DatabaseSettings, pool: Pool) -> None:
        self.mosquitto = mosquitto
        self.database = database
        self.pool = pool
        self.devices: list[UUID] = []
        self.published = 0

    def member(
        self, name: str, **settings: object
    ) -> AbstractAsyncContextManager[CollectorRegistry]:
        return ingesting(
            self.mosquitto.url,
            self.database,
            **{"ingest_group": "hub", "ingest_gone_after": GONE_AFTER, "ingest_client_id": name}
            | settings,
        )

    async def publish_readings(self, readings: int = 5) -> None:
        """Publish this many readings of each device."""
        async with aiomqtt.Client("127.0.0.1", self.mosquitto.port) as client:
            for n in range(self.published, self.published + readings):
                for device in self.devices:
                    await client.publish(*telemetry(device, 600 - n, 1000 + n), qos=1)
        self.published += readings

    async def all_is_stored(self) -> None:
        await holds(self.pool, _STORED, self.published * len(self.devices))


@pytest.fixture
async def site(mosquitto: Mosquitto, database: DatabaseSettings, pool: Pool) -> Site:
    at = Site(mosquitto, database, pool)
    at.devices = [await add_device(pool) for _ in range(8)]
    return at


def sessions_of(*registries: CollectorRegistry) -> list[float | None]:
    return [registry.get_sample_value("solarhub_ingest_sessions") for registry in registries]


async def read(expected: Sequence[float], *registries: CollectorRegistry) -> None:
    """Wait until each of these ingesters reads this many sessions."""
    await eventually(lambda: sessions_of(*registries) == list(expected))


def total(name: str, *registries: CollectorRegistry) -> float:
    return sum(registry.get_sample_value(f"solarhub_{name}_total") or 0 for registry in registries)


# Sharing ---------------------------------------------------------------------------------------


async def test_two_members_share_the_devices_and_count_each_reading_once(site: Site) -> None:
    async with site.member("one") as one, site.member("two") as two:
        await read([1, 1], one, two)
        await site.publish_readings()
        async with aiomqtt.Client("127.0.0.1", site.mosquitto.port) as client:
            for n in range(6):
                await client.publish(f"solar/nobody-{n}/telemetry", b'{"power_w": 1}', qos=1)
                await client.publish(f"solar/{uuid4()}/telemetry", b"garbage", qos=1)
                await client.publish(f"some-{n}/online", b"true", qos=1)
        await site.all_is_stored()
        await holds(site.pool, "SELECT count(*) FROM rejections", 12)
        received = len(site.devices) * site.published + 12
        await eventually(lambda: total("readings_received", one, two) == received)
        await eventually(lambda: total("messages_ignored", one, two) == 6)
        assert min(total("readings_stored", registry) for registry in (one, two)) > 0
    assert tuple(await site.pool.fetchrow(_COUNTS) or ()) == (
        site.published * len(site.devices), site.published * len(site.devices), 0,
    )  # fmt: skip


async def test_retained_copies_are_counted_by_no_member(site: Site) -> None:
    async with aiomqtt.Client("127.0.0.1", site.mosquitto.port) as client:
        for device in site.devices:
            await client.publish(f"solar/{device}/status", "offline", qos=1, retain=True)
    async with site.member("one") as one, site.member("two") as two:
        await read([1, 1], one, two)
        await site.publish_readings(1)
        await site.all_is_stored()
        # Once per subscription: the first ingester read both sessions for a moment.
        assert total("messages_ignored", one, two) >= len(site.devices)
    online = "SELECT count(*) FROM device_states WHERE status = 'online'"
    assert await site.pool.fetchval(online) == len(site.devices)


async def test_a_single_member_reads_all_sessions_and_hands_some_over(site: Site) -> None:
    async with site.member("one") as one:
        await read([2], one)
        await site.publish_readings()
        async with site.member("two") as two:
            await site.publish_readings()
            await read([1, 1], one, two)
            await site.publish_readings()
            await site.all_is_stored()
            # Messages in progress when a session was handed over were acknowledged before.
            assert tuple(await site.pool.fetchrow(_COUNTS) or ())[2] == 0
        await read([2], one)
        await site.publish_readings()
        await site.all_is_stored()


async def test_a_surplus_member_waits_and_takes_over(site: Site) -> None:
    async with site.member("one") as one, site.member("three") as three:
        async with site.member("two") as two:
            await eventually(lambda: sorted(sessions_of(one, two, three)) == [0, 1, 1])
        await read([1, 1], one, three)
        await site.publish_readings()
        await site.all_is_stored()


async def test_messages_published_while_no_member_runs_survive_a_broker_restart(site: Site) -> None:
    async with site.member("one"), site.member("two"):
        pass
    await site.publish_readings()
    site.mosquitto.stop()
    site.mosquitto.start()
    await site.publish_readings()
    async with site.member("one"), site.member("two"):
        await site.all_is_stored()


async def test_all_members_continue_after_a_broker_restart(site: Site) -> None:
    async with site.member("one") as one, site.member("two") as two:
        await read([1, 1], one, two)
        for _ in range(2):
            site.mosquitto.stop()
            site.mosquitto.start()
            await site.publish_readings()
            await site.all_is_stored()
        await read([1, 1], one, two)


async def test_devices_do_not_go_offline_while_their_session_is_not_read(
    site: Site,
) -> None:
    silent = {"offline_after": "600ms"}
    await site.pool.execute("UPDATE devices SET created_at = now()")
    async with site.member("one", **silent) as one:
        await read([2], one)
        await site.publish_readings(1)
        await site.all_is_stored()
        offline = "SELECT count(*) FROM device_states WHERE status = 'offline'"
        await holds(site.pool, offline, len(site.devices))
        # Another member has claimed a session and does not report that it reads it.
        await site.pool.execute(
            "UPDATE ingest_sessions SET holder = $2, seen_at = now() - interval '2 s'"
            " WHERE client_id = $1", TWO[0], uuid4(),
        )  # fmt: skip
        assert not await ingest_sessions.are_read(
            site.pool, "hub", seen_within=timedelta(seconds=1), for_so_long=timedelta(0)
        )


# Dividing the stream anew ----------------------------------------------------------------------


async def test_the_number_of_sessions_changes_once_all_members_want_it(site: Site) -> None:
    async with AsyncExitStack() as stack:
        two = await stack.enter_async_context(site.member("two"))
        async with site.member("one") as one:
            await read([1, 1], one, two)
            await site.publish_readings()
        with capture_logs() as logs:
            one = await stack.enter_async_context(site.member("one", ingest_sessions=3))
            await eventually(lambda: [g for g in logs if g["event"] == "sessions_differ"])
        await site.publish_readings()
        await site.all_is_stored()
        assert await site.pool.fetchval(_SESSIONS) == TWO
    async with site.member("one", ingest_sessions=3) as one:
        await site.publish_readings()
        # The new sessions are saved first, and read once the earlier ones are exhausted.
        await holds(site.pool, _SESSIONS, sorted(TWO + THREE))
        await site.publish_readings()
        await site.all_is_stored()
        await holds(site.pool, _SESSIONS, THREE)
        await site.publish_readings()
        await site.all_is_stored()
        await read([3], one)


async def left_over(site: Site, **settings: object) -> None:
    """Run an ingester of another kind, and publish readings after it has ended."""
    async with site.member("one", **settings):
        await site.publish_readings()
        await site.all_is_stored()
    await site.publish_readings()


@pytest.mark.parametrize(
    "before",
    [{"ingest_group": None}, {"ingest_shared_subscription": True}],
    ids=["alone", "shared"],
)
async def test_messages_queued_for_earlier_sessions_are_stored_first(
    site: Site, before: dict[str, object]
) -> None:
    await left_over(site, **before)
    async with site.member("one") as one:
        await site.publish_readings()
        # The new sessions are saved by now, and read once the earlier one is exhausted.
        await read([2], one)
        await site.all_is_stored()
        await site.publish_readings()
        await site.all_is_stored()
    assert await site.pool.fetchval(_SESSIONS) == TWO


async def test_a_group_waits_for_its_members_that_still_share_a_subscription(site: Site) -> None:
    shares = {"ingest_shared_subscription": True}
    async with site.member("old", **shares) as old, site.member("new") as new:
        await site.publish_readings()
        await site.all_is_stored()
        assert total("readings_stored", old) == site.published * len(site.devices)
        assert total("readings_received", new) == 0
    async with site.member("new") as new, site.member("old") as old:
        await site.publish_readings()
        await site.all_is_stored()
        await read([1, 1], new, old)


async def test_sessions_that_a_group_has_left_are_logged(site: Site) -> None:
    async with site.member("one"):
        pass
    with capture_logs() as logs:
        async with site.member("alone", ingest_group=None):
            left = await eventually(lambda: [g for g in logs if g["event"] == "sessions_left"])
    assert left[0]["sessions"] == TWO


# Leases ----------------------------------------------------------------------------------------


@asynccontextmanager
async def members(pool: Pool, *names: str) -> AsyncIterator[list[Member]]:
    made = [Member(name, uuid4(), 0) for name in names]
    for one in made:
        await ingesters.join(pool, one.member, "hub", one.holder, 2)
    async with pool.acquire() as conn, conn.transaction():
        await ingest_sessions.divide(conn, "hub", 2)
    yield made


async def claim(pool: Pool, one: Member, gone_after: timedelta | None = None) -> list[str]:
    """Claim the sessions that a member may read, and return all of its own."""
    await ingest_sessions.take(pool, "hub", one.holder, one.member, gone_after=gone_after)
    return sorted(session.client_id for session in await ingest_sessions.keep(pool, one.holder))


async def test_a_session_is_claimed_by_one_member_and_by_another_when_that_is_gone(
    pool: Pool,
) -> None:
    async with members(pool, "one", "two") as (one, two):
        claimed = await asyncio.gather(*(claim(pool, member) for member in (one, two)))
        assert sorted(claimed[0] + claimed[1]) == TWO
        await pool.execute("UPDATE ingest_sessions SET seen_at = now() - interval '2 minutes'")
        assert await claim(pool, one) == claimed[0]
        await pool.execute(
            "UPDATE ingest_sessions SET seen_at = now() - interval '2 minutes' WHERE holder = $1",
            two.holder,
        )
        assert await claim(pool, one, MINUTE) == TWO
        assert await claim(pool, two, MINUTE) == []


async def test_a_restarted_member_claims_its_earlier_sessions_at_once(pool: Pool) -> None:
    async with members(pool, "one", "two") as (one, two):
        await claim(pool, one)
        again = Member("one", uuid4(), 0)
        assert await claim(pool, again) == []
        await ingest_sessions.reclaim(pool, "hub", again.holder, "one")
        assert await claim(pool, again) == TWO
        assert await claim(pool, one) == []
        await ingest_sessions.hand_over(pool, TWO[1], again.holder, two)
        await ingest_sessions.hand_over(pool, TWO[0], one.holder, two)
        assert (await claim(pool, again), await claim(pool, two)) == ([TWO[0]], [TWO[1]])


async def test_of_two_members_that_divide_the_stream_at_once_one_does(pool: Pool) -> None:
    async def divide() -> None:
        async with pool.acquire() as conn, conn.transaction():
            await ingest_sessions.lock(conn)
            arrangement = await ingest_sessions.arrangement(
                conn, "hub", seen_within=MINUTE, settled_after=MINUTE
            )
            if arrangement.is_to_change(2):
                await ingest_sessions.divide(conn, "hub", 2)

    await asyncio.gather(*(divide() for _ in range(4)))
    assert await pool.fetchval(_SESSIONS) == TWO
