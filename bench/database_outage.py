"""Second half of case `memory`: memory of an ingester while its database is unavailable."""

import asyncio
from contextlib import AsyncExitStack, ExitStack
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from statistics import linear_regression, median
from time import perf_counter

from bench import mqtt, seed
from bench.database import BenchDatabaseServer, audit, connected, environment
from bench.ingest import TOPICS
from bench.options import Options
from bench.processes import BenchError, BenchProcess, Served, running, solarhub
from bench.readings import STEP, FleetReadings
from bench.result import Contestant, Course, Result, Sample, Target
from core.ids import DeviceId
from core.settings import DatabaseSettings
from core.units import slot_of
from solarhub import embedded

RSS_MAX_MB = 300
GROWTH_MAX_MB = 2
_CLIENT = "bench-away"
_AGO = timedelta(minutes=20)
# First, devices that were offline send all their readings: far more than fits into memory limits.
_CATCH_UPS, _READINGS_PER_CATCH_UP = 2, 1_000
_STORED_WITHIN_S = 120
_DRAINED_PER_S = 1_000
_POLL_S = 0.05
_POINTS_MAX = 120
_S_PER_HOUR = 3600
_MB = 1e6

_STORED = "SELECT coalesce(sum(stored), 0)::bigint FROM device_states"
_ROWS = "SELECT count(*) FROM telemetry"
_DUPLICATES = "SELECT coalesce(sum(duplicate), 0)::bigint FROM device_states"


class _Postgres:
    """A server for this case alone, because it is stopped."""

    def __init__(self, home: Path) -> None:
        self._home = home
        self._running = ExitStack()

    def start(self) -> BenchDatabaseServer:
        return BenchDatabaseServer(self._running.enter_context(embedded.postgres(self._home)).url)

    def stop(self) -> None:
        self._running.close()


@dataclass(frozen=True, slots=True)
class _Site:
    """An ingester, its devices and broker, and a database that can be stopped."""

    postgres: _Postgres
    database: DatabaseSettings
    broker: Served
    ingester: BenchProcess
    log: Path
    devices: list[DeviceId]
    began_at: datetime

    def readings(self, first_tick: int, ticks: int) -> FleetReadings:
        return FleetReadings(self.devices, self.began_at, first_tick, ticks)

    async def publish(self, readings: FleetReadings, readings_each: int = 1) -> None:
        messages = readings.messages(readings_each)
        await asyncio.to_thread(mqtt.publish, self.broker.port, messages)

    async def wait_stored(self, goal: int, *, within_s: float) -> None:
        deadline = perf_counter() + within_s
        async with connected(self.database) as conn:
            while (stored := await conn.fetchval(_STORED)) < goal:
                if perf_counter() > deadline:
                    raise BenchError(f"the ingester stored {stored} of {goal} readings in time")
                self.ingester.ensure_running()
                await asyncio.sleep(_POLL_S)


async def ingester(options: Options) -> Result:
    """Stop the database for `memory_seconds`, in which every device reports once a second."""
    caught_up = _CATCH_UPS * _READINGS_PER_CATCH_UP
    async with AsyncExitStack() as stack:
        site = await _site(stack, options, ticks=1 + caught_up + options.memory_seconds)
        await site.publish(site.readings(0, 1))
        await site.wait_stored(len(site.devices), within_s=_STORED_WITHIN_S)
        began_mb = _rss_mb(site.ingester)
        site.postgres.stop()
        await site.publish(site.readings(1, caught_up), _READINGS_PER_CATCH_UP)
        rss_mb = await _report_live(site, 1 + caught_up, options.memory_seconds)
        site.postgres.start()
        sent = len(site.devices) * (1 + caught_up + options.memory_seconds)
        await site.wait_stored(sent, within_s=_STORED_WITHIN_S + sent / _DRAINED_PER_S)
        async with connected(site.database) as conn:
            rows, duplicates = await conn.fetchval(_ROWS), await conn.fetchval(_DUPLICATES)
        passed = await audit(site.database)
    return Result(
        case="memory-ingester",
        what=f"resident memory of an ingester, {options.memory_seconds:,} s without its database",
        unit="MB",
        contestants=[Contestant("hub", "in tenths of that time", _tenths(rss_mb))],
        targets=(
            Target("MB at most", RSS_MAX_MB, max(rss_mb), at_most=True),
            Target("MB more at the end than in the middle", GROWTH_MAX_MB, _grown_mb(rss_mb), True),
            Target("readings lost", 0, sent - rows, at_most=True),
        ),
        audit_passed=passed,
        parameters={
            "seconds": options.memory_seconds,
            "readings_per_s": len(site.devices),
            "readings": sent,
            "readings_sent_again": duplicates,
            "reconnects": site.log.read_text().count("broker_lost"),
            "mb_with_database": round(began_mb, 1),
            "mb_at_the_end": round(rss_mb[-1], 1),
            "mb_per_hour_in_the_last_half": round(_slope_mb_per_h(rss_mb), 2),
        },
        course=_course(rss_mb),
    )


async def _site(stack: AsyncExitStack, options: Options, *, ticks: int) -> _Site:
    """Start everything on the stack, with devices whose readings fit into `ticks`."""
    began_at = slot_of(datetime.now(UTC) - ticks * STEP - _AGO)
    postgres = _Postgres(options.work / "postgres")
    stack.callback(postgres.stop)
    database = await postgres.start().lasting_hub_database()
    broker = await stack.enter_async_context(mqtt.mosquitto(options.work))
    async with connected(database) as conn:
        devices = await seed.fleet(conn, devices=options.devices, began_at=began_at)
    await asyncio.to_thread(mqtt.open_session, broker.port, _CLIENT, TOPICS)
    env = environment(database) | {
        "SOLARHUB_MQTT_URL": f"mqtt://127.0.0.1:{broker.port}",
        "SOLARHUB_INGEST_CLIENT_ID": _CLIENT,
        "SOLARHUB_LOG_LEVEL": "warning",
    }
    child = await stack.enter_async_context(
        running("ingest", *solarhub("ingest"), logs=options.work, env=env)
    )
    return _Site(postgres, database, broker, child, options.work / "ingest.log", devices, began_at)


async def _report_live(site: _Site, first_tick: int, seconds: int) -> list[float]:
    """Publish a reading of every device each second; return the ingester's memory after each."""
    began, rss_mb = perf_counter(), []
    for second in range(seconds):
        await site.publish(site.readings(first_tick + second, 1))
        await asyncio.sleep(max(0, began + second + 1 - perf_counter()))
        site.ingester.ensure_running()
        rss_mb.append(_rss_mb(site.ingester))
    return rss_mb


def _rss_mb(child: BenchProcess) -> float:
    resident_bytes: int = child.psutil.memory_info().rss
    return resident_bytes / _MB


def _tenths(rss_mb: list[float]) -> list[Sample]:
    """Return the median of each tenth of the time."""
    parts = (rss_mb[n * len(rss_mb) // 10 : (n + 1) * len(rss_mb) // 10] for n in range(10))
    return [Sample(median(part)) for part in parts]


def _grown_mb(rss_mb: list[float]) -> float:
    tenths = _tenths(rss_mb)
    return tenths[-1].per_s - tenths[5].per_s


def _slope_mb_per_h(rss_mb: list[float]) -> float:
    half = rss_mb[len(rss_mb) // 2 :]
    return linear_regression(range(len(half)), half).slope * _S_PER_HOUR


def _course(rss_mb: list[float]) -> Course:
    """Reduce to at most _POINTS_MAX points, each the maximum of its part of the time."""
    each = -(-len(rss_mb) // _POINTS_MAX)
    begins = range(0, len(rss_mb), each)
    return Course(
        seconds=[at + 1 for at in begins],
        values=[round(max(rss_mb[at : at + each]), 1) for at in begins],
    )
