"""Cases `ingest` and `ingest-batched`: one ingester drains a full queue into the database."""

import asyncio
import sys
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from time import perf_counter, process_time

from bench import cpu, mqtt, seed
from bench.database import analyze, audit, connected, environment
from bench.options import Options
from bench.processes import BenchError, BenchProcess, Served, output_of, running, solarhub
from bench.readings import STEP, FleetReadings
from bench.result import Contestant, Result, Sample, Target, ratio, turns
from core.ids import DeviceId
from core.readings import FIELDS
from core.settings import DatabaseSettings
from core.units import slot_of
from db.pool import Connection

TOPICS = ("solar/+/telemetry", "solar/+/status")
READINGS_PER_ARRAY = 50
DRAIN_WITHIN_S = 300
RSS_MAX_MB = 300
_HUB_CLIENT, _FLOOR_CLIENT = "bench-hub", "bench-floor"
# Time between the last reading and now, so that none lies in the future.
_AGO = timedelta(minutes=20)
_POLL_S = 0.05
_MB = 1e6

_STORED = "SELECT coalesce(sum(stored), 0)::bigint FROM device_states"

_COPY_TABLE = "CREATE TABLE IF NOT EXISTS copied (LIKE telemetry INCLUDING ALL)"


async def singles(options: Options) -> Result:
    """Measure messages with one reading, against a loop that only acknowledges."""
    async with queued_fleet(options, readings_each=1) as fleet:
        samples = await fleet.measure({"hub": fleet.hub, "floor": fleet.floor})
        passed = await audit(fleet.database)
    hub = Contestant("hub", "decode, dedupe, account, adjust, commit, ack", samples["hub"])
    floor = Contestant("floor", "bare aiomqtt loop: ack", samples["floor"])
    return Result(
        case="ingest",
        what="QoS 1 readings queued at Mosquitto, one ingester",
        unit="readings/s",
        contestants=(hub, floor),
        targets=(
            Target("readings/s", 12_000, hub.per_s),
            Target("of the floor", 0.5, ratio(hub, floor)),
            Target("RSS of the ingester, MB", RSS_MAX_MB, hub.rss_mb or 0, at_most=True),
        ),
        audit_passed=passed,
        parameters=fleet.parameters,
    )


async def arrays(options: Options) -> Result:
    """Measure messages with fifty readings, against COPY of the same rows."""
    async with queued_fleet(options, readings_each=READINGS_PER_ARRAY) as fleet:
        samples = await fleet.measure({"hub": fleet.hub, "COPY": fleet.copy})
        passed = await audit(fleet.database)
    hub = Contestant("hub", "decode, dedupe, account, adjust, commit, ack", samples["hub"])
    copy = Contestant("COPY", "asyncpg COPY of the same rows", samples["COPY"])
    return Result(
        case="ingest-batched",
        what=f"arrays of {READINGS_PER_ARRAY} readings queued at Mosquitto, one ingester",
        unit="readings/s",
        contestants=(hub, copy),
        targets=(
            Target("readings/s", 50_000, hub.per_s),
            Target("of COPY", 0.25, ratio(hub, copy)),
            Target("RSS of the ingester, MB", RSS_MAX_MB, hub.rss_mb or 0, at_most=True),
        ),
        audit_passed=passed,
        parameters=fleet.parameters,
    )


@asynccontextmanager
async def queued_fleet(options: Options, *, readings_each: int) -> AsyncIterator["QueuedFleet"]:
    """Run a broker with queues for hub and floor; insert devices without readings."""
    ticks = options.readings // options.devices // readings_each * readings_each
    span = options.rounds * ticks * STEP
    began_at = slot_of(datetime.now(UTC) - span - _AGO)
    async with (
        mqtt.mosquitto(options.work) as broker,
        options.server.hub_database() as database,
        connected(database) as conn,
    ):
        for client_id in (_HUB_CLIENT, _FLOOR_CLIENT):
            await asyncio.to_thread(mqtt.open_session, broker.port, client_id, TOPICS)
        devices = await seed.fleet(conn, devices=options.devices, began_at=began_at)
        yield QueuedFleet(options, database, conn, broker, devices, began_at, ticks, readings_each)


@dataclass(frozen=True, slots=True)
class QueuedFleet:
    """Devices whose readings the broker queues, and the contestants that process them."""

    options: Options
    database: DatabaseSettings
    conn: Connection
    broker: Served
    devices: list[DeviceId]
    began_at: datetime
    ticks: int
    readings_each: int

    @property
    def parameters(self) -> dict[str, int | float | str]:
        return {
            "devices": len(self.devices),
            "readings_per_round": self.ticks * len(self.devices),
            "readings_per_message": self.readings_each,
            "rounds": self.options.rounds,
        }

    async def measure(
        self, contestants: dict[str, Callable[[FleetReadings], Awaitable[Sample]]]
    ) -> dict[str, list[Sample]]:
        samples: dict[str, list[Sample]] = {name: [] for name in contestants}
        for number in range(self.options.rounds):
            readings = await self.queue(number)
            for name in turns(list(contestants), number):
                samples[name].append(await contestants[name](readings))
        return samples

    async def queue(self, number: int) -> FleetReadings:
        """Fill the broker's queues with the readings of a round."""
        readings = FleetReadings(self.devices, self.began_at, number * self.ticks, self.ticks)
        messages = readings.messages(self.readings_each)
        await asyncio.to_thread(mqtt.publish, self.broker.port, messages)
        await analyze(self.conn)
        return readings

    async def hub(self, readings: FleetReadings) -> Sample:
        env = environment(self.database) | {
            "SOLARHUB_MQTT_URL": f"mqtt://127.0.0.1:{self.broker.port}",
            "SOLARHUB_INGEST_CLIENT_ID": _HUB_CLIENT,
            "SOLARHUB_LOG_LEVEL": "warning",
        }
        goal = await self._stored() + readings.count
        async with running(
            "ingest", *solarhub("ingest"), logs=self.options.work, env=env
        ) as ingester:
            return await self._rate(ingester, goal)

    async def _rate(self, ingester: BenchProcess, goal: int) -> Sample:
        """Measure from the first commit on, so that the start of the process does not count."""
        clock = cpu.CpuClock(
            {"ingester": ingester.psutil, "Mosquitto": self.broker.child.psutil}
            | await cpu.postgres(self.conn)
        )
        idle = await self._stored()
        while (first := await self._wait(ingester)) == idle:
            continue
        began, cpu_began = perf_counter(), clock.read_s()
        deadline, rss = began + DRAIN_WITHIN_S, 0
        while (stored := await self._wait(ingester)) < goal:
            rss = max(rss, ingester.psutil.memory_info().rss)
            if perf_counter() > deadline:
                raise BenchError(f"the ingester stored {stored} of {goal} readings in time")
        count = stored - first
        return Sample(
            count / (perf_counter() - began),
            cpu_us=clock.since_us(cpu_began, count),
            rss_mb=rss / _MB if rss else None,
        )

    async def _wait(self, ingester: BenchProcess) -> int:
        await asyncio.sleep(_POLL_S)
        ingester.ensure_running()
        return await self._stored()

    async def _stored(self) -> int:
        stored: int = await self.conn.fetchval(_STORED)
        return stored

    async def floor(self, readings: FleetReadings) -> Sample:
        argv = (sys.executable, "-m", "bench.bare_mqtt", str(self.broker.port), _FLOOR_CLIENT)
        messages = readings.count // self.readings_each
        output = await output_of(*argv, str(messages), within_s=DRAIN_WITHIN_S)
        per_s, cpu_us = map(float, output.split())
        return Sample(per_s, cpu_us={"floor": cpu_us})

    async def copy(self, readings: FleetReadings) -> Sample:
        await self.conn.execute(_COPY_TABLE)
        rows = list(readings.rows())
        clock = cpu.CpuClock(await cpu.postgres(self.conn))
        began, cpu_began, client_began = perf_counter(), clock.read_s(), process_time()
        await self.conn.copy_records_to_table(
            "copied", records=rows, columns=("device_id", *FIELDS)
        )
        seconds, client_s = perf_counter() - began, process_time() - client_began
        used_us = {"client": client_s / len(rows) * cpu.US_PER_S}
        return Sample(len(rows) / seconds, cpu_us=used_us | clock.since_us(cpu_began, len(rows)))
