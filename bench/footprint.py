"""Costs that the capacity guide needs and no case measures: bytes, and CPU time per event.

    python -m bench.footprint

Writes `bench/results/footprint.json`, which `bench.capacity_guide` reads. Bytes and CPU time of
single processes vary little, even on a busy machine.
"""

import asyncio
import json
import socket
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from uuid import uuid4

import psutil

from bench import circles, cpu, database, mqtt, seed
from bench.cpu import US_PER_S
from bench.feed_load import feed
from bench.machine import raise_open_files_limit
from bench.options import Options
from bench.readings import STEP, FleetReadings
from core.ids import DeviceId
from core.settings import DatabaseSettings
from core.units import slot_of
from db import replicas, schema
from db.pool import Connection, open_pool
from ingest.messages import IngestMessage, decode
from ingest.writer import write
from solarhub.child import temporary_directory

RESULT = Path("bench/results/footprint.json")
DEVICES, TICKS = 1_000, 120
SESSIONS, FIRST_SESSIONS, MESSAGES = 5_000, 200, 20_000
_LATE_HORIZON = timedelta(days=7)
_KIB = 1024

_TELEMETRY = "SELECT pg_total_relation_size('telemetry')::float8 / count(*) FROM telemetry"
_EVENTS = "SELECT count(*) FROM outbox"
_HAS_EVENTS = "SELECT EXISTS (SELECT FROM outbox)"
_POLL_S = 0.2


async def of_readings(settings: DatabaseSettings) -> dict[str, float]:
    """Measure a reading, written in batches with one reading of each of 1,000 devices.

    Leaves the events of changed listings in the outbox.
    """
    await schema.migrate(settings)
    began_at = slot_of(datetime.now(UTC) - TICKS * STEP - timedelta(minutes=20))
    async with open_pool(settings, application_name="bench", max_size=2) as pool:
        async with pool.acquire() as conn:
            devices = await seed.fleet(conn, devices=DEVICES, began_at=began_at)
            before = await replicas.written(conn)
        for tick in range(TICKS):
            messages = list(_messages(FleetReadings(devices, began_at, tick, 1)))
            await write(pool, messages, _LATE_HORIZON)
        async with pool.acquire() as conn:
            return await _stored_bytes(conn, before, DEVICES * TICKS)


def _messages(readings: FleetReadings) -> Iterator[IngestMessage]:
    now = datetime.now(UTC)
    for topic, payload in readings.messages():
        message = decode(topic, payload, received_at=now, acknowledge=lambda: None)
        assert message is not None
        yield message


async def _stored_bytes(conn: Connection, before: int, readings: int) -> dict[str, float]:
    """Return bytes of a row with its index, bytes of WAL, and events, all per reading."""
    return {
        "telemetry_bytes": round(await conn.fetchval(_TELEMETRY)),
        "wal_bytes": round((await replicas.written(conn) - before) / readings),
        "events_per_reading": round(await conn.fetchval(_EVENTS) / readings, 3),
    }


async def of_the_relay(settings: DatabaseSettings, work: Path) -> dict[str, float]:
    """Measure the events in the outbox while the relay publishes them."""
    options = Options(database.BenchDatabaseServer(settings.database_url), work)
    async with database.connected(settings) as conn:
        events, postgres = await conn.fetchval(_EVENTS), await cpu.postgres(conn)
        async with feed(options, settings) as running:
            clock = running.clock(postgres)
            began_s = {**clock.read_s(), "relay": 0.0, "Redis": 0.0}
            while await conn.fetchval(_HAS_EVENTS):
                running.relay.child.ensure_running()
                await asyncio.sleep(_POLL_S)
            used_us = clock.since_us(began_s, events)
    names = {"relay": "relay_us", "Redis": "redis_us", "PostgreSQL": "postgres_event_us"}
    return {names[name]: round(us, 1) for name, us in used_us.items() if name in names}


async def of_the_broker(work: Path) -> dict[str, float]:
    """Measure an idle connection of a device, and a message on its own connection."""
    async with mqtt.mosquitto(work) as broker:
        process = broker.child.psutil
        devices = [_device(broker.port, number) for number in range(FIRST_SESSIONS)]
        before_bytes = process.memory_info().rss
        devices += [_device(broker.port, FIRST_SESSIONS + number) for number in range(SESSIONS)]
        held_bytes = process.memory_info().rss - before_bytes
        mqtt.open_session(broker.port, "away", ["solar/+/telemetry"])
        began_s = _cpu_s(process)
        message_bytes = await asyncio.to_thread(_publish, devices)
        used_s = _cpu_s(process) - began_s
        for device in devices:
            device.close()
    return {
        "session_kib": round(held_bytes / SESSIONS / _KIB, 2),
        "broker_in_us": round(used_s / MESSAGES * US_PER_S, 1),
        "message_bytes": message_bytes,
    }


def _device(port: int, number: int) -> socket.socket:
    sock = socket.create_connection(("127.0.0.1", port), timeout=mqtt.TIMEOUT_S)
    sock.sendall(mqtt.connect_packet(f"device-{number}", clean_session=True))
    sock.recv(4)
    return sock


def _publish(devices: list[socket.socket]) -> int:
    """Publish messages one after the other, each acknowledged; return the bytes of a packet."""
    readings = FleetReadings([DeviceId(uuid4())], datetime.now(UTC), 0, 1)
    [(topic, payload)] = readings.messages()
    packet = mqtt.publish_packet(1, topic, payload)
    for number in range(MESSAGES):
        device = devices[number % len(devices)]
        device.sendall(packet)
        device.recv(4)
    return len(packet)


def _cpu_s(process: psutil.Process) -> float:
    times = process.cpu_times()
    return float(times.user + times.system)


async def measure() -> dict[str, float]:
    with temporary_directory() as work:
        async with (
            database.server(None, work) as server,
            server.empty_database() as settings,
        ):
            of_one = await of_readings(settings) | await of_the_relay(settings, work)
        return of_one | await of_the_broker(work) | circles.costs()


if __name__ == "__main__":
    raise_open_files_limit()
    found = asyncio.run(measure())
    RESULT.write_text(json.dumps(found, indent=2) + "\n")
    print(json.dumps(found, indent=2))
