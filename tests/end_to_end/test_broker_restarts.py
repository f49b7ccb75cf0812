"""A group of ingesters, and a Mosquitto as it ships that restarts while they are away.

What devices published while nobody was there is the broker's to keep. Its persistence forgets
shared subscriptions: then it acknowledges what it has nobody to keep for.
"""

import asyncio
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from functools import partial
from pathlib import Path
from random import Random
from uuid import UUID

import pytest

from core.device_passwords import password_of
from core.readings import Reading
from core.settings import DatabaseSettings
from db.pool import Pool
from simulators.device_connection import (
    ConnectionTally,
    Credentials,
    DeviceConnection,
    DeviceConnector,
)
from simulators.hub_client import BrokerAddress
from simulators.send_queue import SendQueue
from tests.conftest import secured_mosquitto
from tests.end_to_end.turmoil import Part
from tests.ingest.broker_accounts.support import SECRET, connected_device, register
from tests.support.audits import failed_checks
from tests.support.mosquitto import AUTOSAVE_S, SecuredMosquitto
from tests.support.waiting import eventually

MEMBERS = ("one", "two", "three")
DEVICES = 6
READINGS = 10  # of each device, at a time
WELL_WITHIN_S = 60

_COUNTS = """
SELECT coalesce(sum(received), 0)::int AS received, coalesce(sum(stored), 0)::int AS stored,
       coalesce(sum(duplicate), 0)::int AS duplicate, coalesce(sum(rejected), 0)::int AS rejected
  FROM device_states
"""
_MEMBERS = "SELECT count(*) FROM ingesters"
_KEPT = "SELECT count(*) FROM ingest_sessions WHERE subscribed_at IS NOT NULL"


@dataclass
class Device:
    """Measures a second apart; `resends` what was acknowledged lately when it connects anew."""

    id: UUID
    resends: bool
    began_at: datetime
    outgoing: SendQueue = field(default_factory=SendQueue)
    measured: int = 0
    _measured: asyncio.Event = field(default_factory=asyncio.Event)

    @property
    def credentials(self) -> Credentials:
        return Credentials(str(self.id), password_of(SECRET, self.id, 1))

    def measure(self, count: int) -> None:
        for n in range(self.measured, self.measured + count):
            self.outgoing.add(Reading(self.began_at + timedelta(seconds=n), energy_wh=float(n)))
        self.measured += count
        self._measured.set()

    async def speak(self, line: DeviceConnection) -> None:
        if self.resends:
            self.outgoing.reconnected()
        while True:
            while self.outgoing:
                await line.send(self.outgoing.peek(1))
                self.outgoing.acknowledge(1)
            self._measured.clear()
            await self._measured.wait()


@dataclass
class Site:
    """A group's members, their broker and its devices."""

    mosquitto: SecuredMosquitto
    pool: Pool
    devices: Sequence[Device]
    members: Sequence[Part]

    async def measure(self) -> None:
        """Each device measures, and the broker acknowledges all of it."""
        for device in self.devices:
            device.measure(READINGS)
        await eventually(self._acknowledged, within_s=WELL_WITHIN_S)

    def _acknowledged(self) -> bool:
        return not any(device.outgoing for device in self.devices)

    async def all_is_stored(self) -> bool:
        counts = await self.pool.fetchrow(_COUNTS)
        measured = sum(device.measured for device in self.devices)
        assert counts is not None
        assert counts["stored"] == measured, f"{counts['stored']} of {measured} are stored"
        assert counts["rejected"] == 0
        assert counts["received"] == measured + counts["duplicate"]
        return True


def member(name: str, mosquitto: SecuredMosquitto, database: DatabaseSettings, home: Path) -> Part:
    return Part(
        "ingest",
        home / f"{name}.log",
        {
            "SOLARHUB_DATABASE_URL": database.database_url,
            "SOLARHUB_MQTT_URL": mosquitto.url,
            "SOLARHUB_DEVICE_SECRET": SECRET.decode(),
            "SOLARHUB_INGEST_CLIENT_ID": name,
            "SOLARHUB_INGEST_GROUP": "hub",
        },
    )


async def all_are_there(pool: Pool) -> bool:
    """They are members, and the broker keeps their sessions."""
    members, sessions = await asyncio.gather(pool.fetchval(_MEMBERS), pool.fetchval(_KEPT))
    return (members, sessions) == (len(MEMBERS), 2)


@asynccontextmanager
async def site(
    database: DatabaseSettings, pool: Pool, home: Path, *, resend: bool
) -> AsyncIterator[Site]:
    """Everybody is there, and the broker has saved it."""
    began_at = datetime.now(UTC).replace(microsecond=0) - timedelta(hours=1)
    devices = [Device(await register(pool), resend, began_at) for _ in range(DEVICES)]
    async with AsyncExitStack() as stack:
        mosquitto = stack.enter_context(secured_mosquitto(home, autosave_s=AUTOSAVE_S))
        members = [member(name, mosquitto, database, home) for name in MEMBERS]
        for one in members:
            await one.start()
            stack.push_async_callback(one.end)
        await eventually(partial(all_are_there, pool), within_s=2 * WELL_WITHIN_S)
        for device in devices:
            async with connected_device(mosquitto, device.id):
                pass
        tasks = await stack.enter_async_context(asyncio.TaskGroup())
        links = DeviceConnector(
            BrokerAddress.of(f"mqtt://127.0.0.1:{mosquitto.port}"), Random(1), ConnectionTally()
        )
        running = [
            tasks.create_task(links.run(device.credentials, device.speak)) for device in devices
        ]
        at = Site(mosquitto, pool, devices, members)
        await at.measure()
        await eventually(at.all_is_stored, within_s=WELL_WITHIN_S)
        mosquitto.save()
        yield at
        for task in running:
            task.cancel()


def restarted(mosquitto: SecuredMosquitto) -> None:
    mosquitto.stop()
    mosquitto.start()


def killed(mosquitto: SecuredMosquitto) -> None:
    mosquitto.kill()
    mosquitto.start()


@pytest.mark.slow
@pytest.mark.parametrize("blow", [restarted, killed])
async def test_what_is_published_while_some_or_all_are_away_outlives_the_broker(
    database: DatabaseSettings,
    pool: Pool,
    tmp_path: Path,
    blow: Callable[[SecuredMosquitto], None],
) -> None:
    # Of a broker that is killed only devices that send again lose nothing.
    async with site(database, pool, tmp_path, resend=blow is killed) as at:
        for one in at.members:  # until all are away
            await one.end()
            await at.measure()
            await asyncio.to_thread(blow, at.mosquitto)
            await at.measure()
        for one in at.members:
            await one.start()
        await eventually(at.all_is_stored, within_s=WELL_WITHIN_S)
        async with pool.acquire() as conn:
            assert await failed_checks(conn, database) == []
    for one in at.members:
        assert "Traceback" not in one.log.read_text()
