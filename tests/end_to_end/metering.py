"""Hubs that are put under a load of meters' readings, and what came of it."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from random import Random
from typing import Any
from uuid import UUID

from core.settings import DatabaseSettings
from core.units import slot_of
from db import schema
from db.errors import database_errors
from db.pool import Pool, open_pool
from simulators.device_connection import (
    ConnectionTally,
    Credentials,
    DeviceConnection,
    DeviceConnector,
)
from simulators.hub_client import BrokerAddress
from simulators.send_queue import SendQueue
from tests.conftest import require
from tests.end_to_end.load import Meter
from tests.end_to_end.turmoil import Backing, Part
from tests.ingest.world import add_device, add_following_listing
from tests.support.audits import failed_checks
from tests.support.databases import create, postgres, url_of
from tests.support.mosquitto import Mosquitto, find
from tests.support.waiting import eventually

# Mosquitto saves every second or two here; devices keep what it took for longer than that.
KEPT_S = 15.0
SETTLES_WITHIN_S = 120

_STORED = "SELECT coalesce(sum(stored), 0)::int FROM device_states"
_UNBALANCED = """
SELECT device_id FROM device_states WHERE received <> stored + duplicate + rejected OR rejected <> 0
"""
_COUNTS = "SELECT sum(received) AS received, sum(stored) AS stored FROM device_states"
_INTERVALS = """
SELECT slot_start, generated_wh, surplus_wh, quality, reasons FROM energy_interval
 WHERE device_id = $1 ORDER BY slot_start
"""
_OFFERED = "SELECT energy_amount_kwh FROM energy_listings WHERE device_id = $1"


class Gate:
    """Limit the part of their readings that devices may send by now: the load lasts to the end."""

    def __init__(self, rounds: int) -> None:
        self._stretches = rounds + 1
        self._open = 0
        self._opened = asyncio.Event()

    def open_wider(self) -> None:
        self._open += 1
        self._opened.set()
        self._opened = asyncio.Event()

    def lets_out(self, total: int) -> int:
        return total * self._open // self._stretches

    async def opening(self) -> None:
        await self._opened.wait()


class Device:
    """Sends its readings as fast as the broker takes them, and the gate lets them out."""

    def __init__(self, device_id: UUID, meter: Meter, gate: Gate, chance: Random) -> None:
        self.credentials = Credentials(str(device_id), "no one asks")
        self._readings = meter.readings
        self._let_out = 0
        self._outgoing = SendQueue(retained_s=KEPT_S)
        self._gate = gate
        self._chance = chance

    async def speak(self, line: DeviceConnection) -> None:
        self._outgoing.reconnected()
        while self._outgoing or self._let_out < len(self._readings):
            self._let_more_out()
            if not self._outgoing:
                await self._gate.opening()
                continue
            batch = self._outgoing.peek(self._chance.choice((1, 1, 1, 2, 7)))
            await line.send(batch)
            self._outgoing.acknowledge(len(batch))

    def _let_more_out(self) -> None:
        may = self._gate.lets_out(len(self._readings))
        for reading in self._readings[self._let_out : may]:
            self._outgoing.add(reading)
        self._let_out = may


@dataclass(frozen=True, slots=True)
class Hub:
    """A database and a broker of its own, with a device and a listing for each meter."""

    directory: Path
    mosquitto: Mosquitto
    database: DatabaseSettings
    pool: Pool
    meters: list[Meter]
    devices: list[UUID]

    @property
    def distinct(self) -> int:
        """Return the number of readings to store."""
        return sum(meter.distinct for meter in self.meters)

    async def stored(self) -> int:
        """Return the number of stored readings; -1 while the database is unavailable."""
        try:
            return int(await self.pool.fetchval(_STORED))
        except database_errors():
            return -1

    async def has_stored(self, least: int) -> bool:
        stored = await self.stored()
        assert stored >= least, f"{stored} of {least} readings are stored"
        return True

    def ingester(self, name: str, **settings: str) -> Part:
        """`solarhub ingest`, which keeps a session of this name at the broker."""
        return Part(
            "ingest",
            self.directory / f"{name}.log",
            {
                "SOLARHUB_DATABASE_URL": self.database.database_url,
                "SOLARHUB_MQTT_URL": self.mosquitto.url,
                "SOLARHUB_INGEST_CLIENT_ID": name,
                "SOLARHUB_INGEST_BATCH_MAX": "100",
                **settings,
            },
        )

    async def summary(self) -> str:
        """Describe how many readings were received and stored."""
        counts = await self.pool.fetchrow(_COUNTS)
        assert counts is not None
        came = f"{counts['received']} received, {counts['stored']} stored"
        return f"readings of {len(self.meters)} meters: {came}"

    async def subscribes(self, name: str) -> None:
        """Wait until the broker has saved that session: from then on it keeps all.

        The name stands there once an ingester is connected, and again with each subscription that
        is not shared.
        """
        await eventually(lambda: self.mosquitto.saved().count(name.encode()) >= 2, within_s=60)

    async def publish(self, gate: Gate, chance: Random) -> None:
        """Each device on a connection of its own, until all is sent."""
        links = DeviceConnector(BrokerAddress.of(self.mosquitto.url), chance, ConnectionTally())
        async with asyncio.TaskGroup() as tasks:
            for device_id, meter in zip(self.devices, self.meters, strict=True):
                device = Device(device_id, meter, gate, chance)
                tasks.create_task(
                    links.run(device.credentials, device.speak, announce_offline=False)
                )

    async def outcome(self) -> list[Any]:
        """Return the result of each device's readings, once all are stored and the audit passes."""
        await eventually(lambda: self.has_stored(self.distinct), within_s=SETTLES_WITHIN_S)
        assert await self.pool.fetchval("SELECT count(*) FROM telemetry") == self.distinct
        assert await self.pool.fetch(_UNBALANCED) == []
        async with self.pool.acquire() as conn:
            assert await failed_checks(conn, self.database) == []
            return [
                (await conn.fetch(_INTERVALS, device), await conn.fetchval(_OFFERED, device))
                for device in self.devices
            ]


@asynccontextmanager
async def hub_of(
    name: str, directory: Path, server: Backing, meters: list[Meter]
) -> AsyncIterator[Hub]:
    """A hub without an ingester, on a server that others may share."""
    home = directory / name
    home.mkdir()
    await create(server.url, name)
    settings = DatabaseSettings(database_url=url_of(server.url, name))
    await schema.migrate(settings)
    mosquitto = Mosquitto(require("mosquitto", find()), home)
    mosquitto.start()
    try:
        async with open_pool(settings, application_name="test") as pool:
            devices = [await _add(pool, meter) for meter in meters]
            yield Hub(home, mosquitto, settings, pool, meters, devices)
    finally:
        mosquitto.stop()


async def _add(pool: Pool, meter: Meter) -> UUID:
    device_id = await add_device(pool, meter.capacity_w)
    measured_from = slot_of(datetime.now(UTC)) - timedelta(days=6)
    await add_following_listing(pool, device_id, measured_from)
    return device_id


@asynccontextmanager
async def database_server(directory: Path) -> AsyncIterator[Backing]:
    """PostgreSQL of the test's own, which keeps what it committed when it is killed."""
    server = Backing(postgres, directory / "postgres")
    await server.start()
    try:
        yield server
    finally:
        await server.stop()


async def undisturbed(directory: Path, server: Backing, meters: list[Meter]) -> list[Any]:
    """Return the result of the readings when nothing fails."""
    async with hub_of("undisturbed", directory, server, meters) as hub:
        ingester = hub.ingester("alone")
        await ingester.start()
        try:
            await hub.subscribes("alone")
            gate = Gate(rounds=0)
            gate.open_wider()
            await hub.publish(gate, Random(0))
            return await hub.outcome()
        finally:
            await ingester.end()
