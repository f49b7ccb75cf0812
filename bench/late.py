"""Case `late`: one late reading into a week of one-second readings, while other devices report."""

import asyncio
import sys
import time
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

from bench import mqtt, seed
from bench.database import analyze, audit, connected, environment
from bench.ingest import TOPICS
from bench.options import Options
from bench.processes import BenchError, running
from bench.result import Contestant, Result, Sample, Target
from core.ids import DeviceId
from core.readings import Reading
from core.settings import DatabaseSettings
from core.units import rfc3339, slot_of
from db.pool import Connection, open_pool
from ingest.dialects import Decoded
from ingest.messages import IngestMessage
from ingest.writer import write

SLICE_MAX_MS = 200
P99_RATIO_MAX = 2
OTHERS = 200
_CLIENT = "bench-late"
_SECOND = timedelta(seconds=1)
_AGO = timedelta(minutes=20)
_HORIZON = timedelta(days=30)
_READINGS_PER_MESSAGE = 1_000
_POWER_W, _START_WH = 2500.0, 1_000_000.0
_POLL_S = 0.003
_DONE_WITHIN_S = 300
_MS_PER_S = 1000

_PROGRESS = """
SELECT coalesce(sum(stored) FILTER (WHERE device_id <> $1), 0)::bigint AS of_others,
       coalesce(sum(stored) FILTER (WHERE device_id = $1), 0)::bigint AS of_device,
       EXISTS (SELECT FROM unaccounted_readings) AS waits
  FROM device_states
"""


async def late_reading(options: Options) -> Result:
    """Measure the other devices without, then with a late reading, in each round."""
    async with _site(options) as site:
        alone, beside = [], []
        for number in range(options.rounds):
            alone.append(await site.turn(options.seconds))
            beside.append(await site.turn(options.seconds, late=site.late(number)))
        passed = await audit(site.database)
    late = Contestant("hub, late", "while a week is accounted again", _samples(beside))
    hub = Contestant("hub", "alone", _samples(alone))
    return Result(
        case="late",
        what=f"a reading a second of each of {OTHERS} devices, beside one late reading of another",
        unit="readings/s",
        contestants=(late, hub),
        targets=(
            Target("ms of the event loop", SLICE_MAX_MS, _longest_ms(beside), at_most=True),
            Target("p99, to alone", P99_RATIO_MAX, _ratio(late.p99_ms, hub.p99_ms), at_most=True),
        ),
        audit_passed=passed,
        parameters={
            "readings_after_the_late_one": options.late_readings,
            "rounds": options.rounds,
            "seconds_until_accounted": round(max(turn.accounted_s for turn in beside), 1),
            "ms_of_the_event_loop_alone": round(_longest_ms(alone), 1),
        },
    )


@dataclass(frozen=True, slots=True)
class _Turn:
    """One turn of the other devices."""

    sample: Sample
    # The longest delay of the event loop.
    longest_ms: float
    # Time until the late reading was accounted; 0 without one.
    accounted_s: float


def _samples(turns: Sequence[_Turn]) -> list[Sample]:
    return [turn.sample for turn in turns]


def _longest_ms(turns: Sequence[_Turn]) -> float:
    return max(turn.longest_ms for turn in turns)


def _ratio(one: float | None, other: float | None) -> float:
    return (one or 0) / other if other else 0


@dataclass(slots=True)
class _Site:
    """An ingester, a device with a long history, and others that report once a second."""

    database: DatabaseSettings
    conn: Connection
    port: int
    loop_log: Path
    device: DeviceId
    others: Sequence[DeviceId]
    began_at: datetime

    def late(self, number: int) -> tuple[str, bytes]:
        """Return topic and payload of a late reading, earlier than that of the round before.

        It has an export counter, which no other reading has, so that all later intervals change.
        """
        at = self.began_at + timedelta(minutes=30 - number) + _SECOND / 2
        payload = f'{{"time":"{rfc3339(at)}","export_wh":{_START_WH - number}}}'
        return f"solar/{self.device}/telemetry", payload.encode()

    async def turn(self, seconds: int, late: tuple[str, bytes] | None = None) -> _Turn:
        """Let the others report for at least `seconds`, and until the late reading is accounted."""
        began_at = time.time()
        with mqtt.Publisher(self.port) as publisher:
            if late is not None:
                publisher.publish(*late)
            stop = asyncio.Event()
            sent_at: list[float] = []
            async with asyncio.TaskGroup() as tasks:
                tasks.create_task(self._report(publisher, sent_at, stop))
                watching = self._watch(sent_at, stop, seconds, is_late=late is not None)
                took_s, accounted_s = await watching
        latencies, count = sorted(took_s), len(took_s)
        sample = Sample(
            count / (time.time() - began_at),
            p50_ms=latencies[count // 2] * _MS_PER_S,
            p99_ms=latencies[count * 99 // 100] * _MS_PER_S,
        )
        return _Turn(sample, self._longest_ms(began_at), accounted_s)

    async def _report(
        self, publisher: mqtt.Publisher, sent_at: list[float], stop: asyncio.Event
    ) -> None:
        """Publish one reading of each other device per second, one after the other."""
        began = time.time()
        while not stop.is_set():
            for device_id in self.others:
                due = began + len(sent_at) / len(self.others)
                await asyncio.sleep(max(0.0, due - time.time()))
                at = datetime.now(UTC)
                sent_at.append(time.time())
                energy_wh = _START_WH + at.timestamp() % 1e6 / 2
                payload = f'{{"time":"{rfc3339(at)}","power_w":1800,"energy_wh":{energy_wh:.3f}}}'
                publisher.publish(f"solar/{device_id}/telemetry", payload.encode())

    async def _watch(
        self, sent_at: Sequence[float], stop: asyncio.Event, seconds: int, *, is_late: bool
    ) -> tuple[list[float], float]:
        """Wait until all is stored and accounted.

        Return how long each reading took until it was committed, in the order of sending, and how
        long the late reading took until it was accounted.
        """
        began = time.time()
        first = await self._progress()
        took_s: list[float] = []
        accounted_s = 0.0
        while not (stop.is_set() and len(took_s) == len(sent_at)):
            of_others, of_device, waits = await self._progress()
            now = time.time()
            took_s += [now - at for at in sent_at[len(took_s) : of_others - first[0]]]
            if is_late and of_device > first[1] and not waits:
                is_late, accounted_s = False, now - began
            if not is_late and now > began + seconds:
                stop.set()
            if now > began + seconds + _DONE_WITHIN_S:
                raise BenchError("not everything was stored and accounted in time")
            await asyncio.sleep(_POLL_S)
        return took_s, accounted_s

    async def _progress(self) -> tuple[int, int, bool]:
        row = await self.conn.fetchrow(_PROGRESS, self.device)
        assert row is not None
        return row["of_others"], row["of_device"], row["waits"]

    def _longest_ms(self, since: float) -> float:
        lines = (line.split() for line in self.loop_log.read_text().splitlines())
        return max((float(ms) for at, ms in lines if float(at) > since), default=0.0)


@asynccontextmanager
async def _site(options: Options) -> AsyncIterator[_Site]:
    began_at = slot_of(datetime.now(UTC) - options.late_readings * _SECOND - _AGO)
    loop_log = options.work / "event_loop"
    async with (
        mqtt.mosquitto(options.work) as broker,
        options.server.hub_database() as database,
        connected(database) as conn,
    ):
        await asyncio.to_thread(mqtt.open_session, broker.port, _CLIENT, TOPICS)
        device, *others = await seed.fleet(conn, devices=OTHERS + 1, began_at=began_at)
        await _fill(database, device, began_at, options.late_readings)
        await analyze(conn)
        env = environment(database) | {
            "SOLARHUB_MQTT_URL": f"mqtt://127.0.0.1:{broker.port}",
            "SOLARHUB_INGEST_CLIENT_ID": _CLIENT,
            "SOLARHUB_LATE_HORIZON": "30d",
            "SOLARHUB_LOG_LEVEL": "warning",
        }
        argv = (sys.executable, "-m", "bench.watched", str(loop_log))
        async with running("ingest", *argv, logs=options.work, env=env):
            site = _Site(database, conn, broker.port, loop_log, device, others, began_at)
            await site.turn(1)
            yield site


async def _fill(
    database: DatabaseSettings, device: DeviceId, began_at: datetime, readings: int
) -> None:
    """Store the history of the device as an ingester does."""
    async with open_pool(database, application_name="bench", max_size=1) as pool:
        for message in _history(device, began_at, readings):
            await write(pool, [message], _HORIZON)


def _history(device: DeviceId, began_at: datetime, count: int) -> Iterator[IngestMessage]:
    for first in range(0, count, _READINGS_PER_MESSAGE):
        seconds = range(first, min(count, first + _READINGS_PER_MESSAGE))
        readings = tuple(
            Reading(began_at + n * _SECOND, _POWER_W, round(_START_WH + _POWER_W * n / 3600, 3))
            for n in seconds
        )
        yield IngestMessage(
            device_id=device,
            topic=f"solar/{device}/telemetry",
            payload=b"",
            received_at=began_at + seconds[-1] * _SECOND,
            decoded=Decoded(readings=readings),
            acknowledge=lambda: None,
        )
