"""The tasks that commit batches and then acknowledge them to the broker."""

import asyncio
from collections.abc import Sequence
from dataclasses import replace
from datetime import datetime
from time import perf_counter

import structlog

from core.clock import REAL_TIME, Clock
from core.dialects import Dialect
from core.log import OncePerSecond
from core.readings import RejectedReading, RejectionReason
from core.retry import Backoff
from core.settings import IngestSettings
from db import partials
from db.errors import MAYBE_CAUSED_BY_DATA, UNSTORABLE, database_errors, shortage
from db.pool import Pool
from ingest.batcher import Batcher, Partitions
from ingest.firmware_decoding import close_request
from ingest.messages import IngestMessage, reject_all
from ingest.metrics import IngestMetrics
from ingest.rejection_notices import RejectionNotices
from ingest.writer import WrittenBatch, write

_RETRY_FIRST_S = 0.1
_RETRY_MAX_S = 5.0
# An error that may come from the data itself is retried so often before the batch is divided.
_TRIES = 3
# The open measurements of firmwares are closed at most this long after their window has passed.
_CLOSE_EVERY_S = 0.5
_CLOSE_MAX = 500

_log = structlog.get_logger()


class BatchCommitter:
    """Writes the batches of each partition one after the other, and acknowledges what is committed.

    While the database is unavailable a batch is retried without end: the broker stores the rest.
    A message that the database refuses is isolated, recorded as rejected and acknowledged, so that
    it does not block the messages behind it.
    """

    def __init__(
        self,
        settings: IngestSettings,
        pool: Pool,
        partitions: Partitions,
        notices: RejectionNotices,
        metrics: IngestMetrics,
        clock: Clock = REAL_TIME,
    ) -> None:
        self._late_horizon = settings.late_horizon
        self._rules = settings.selling_rules
        self._pool = pool
        self._partitions = partitions
        self._notices = notices
        self._metrics = metrics
        self._clock = clock
        self._warnings = OncePerSecond()

    async def run(self) -> None:
        """Commit batches until cancelled."""
        async with asyncio.TaskGroup() as tasks:
            for batcher in self._partitions.batchers:
                tasks.create_task(self._run_partition(batcher))
            tasks.create_task(self._close_measurements())

    async def _run_partition(self, batcher: Batcher[IngestMessage]) -> None:
        async for batch in batcher.batches():
            await self._commit_and_acknowledge(batch)

    async def _close_measurements(self) -> None:
        """Close firmwares' open measurements once no more parts of them are expected.

        Several ingesters may do so: a measurement is closed under the lock of its device's state.
        """
        while True:
            now = self._clock.now()
            due = await self._due_measurements(now)
            if due:
                await self._commit_and_acknowledge([close_request(name, now) for name in due])
            if len(due) < _CLOSE_MAX:
                await asyncio.sleep(_CLOSE_EVERY_S)

    async def _due_measurements(self, now: datetime) -> list[tuple[Dialect, str]]:
        try:
            async with self._pool.acquire() as conn:
                return await partials.due(conn, now, _CLOSE_MAX)
        except database_errors() as error:
            _log.warning("measurements_not_closed", error=type(error).__name__)
            return []

    async def _commit_and_acknowledge(self, batch: Sequence[IngestMessage]) -> None:
        try:
            written = await self._commit(batch)
        except MAYBE_CAUSED_BY_DATA as error:
            await self._isolate(batch, error)
            return
        self._partitions.acknowledge(batch)
        self._count(batch, written)
        self._notices.send(written.rejections)

    async def _commit(self, batch: Sequence[IngestMessage]) -> WrittenBatch:
        """Write a batch, and retry while the database is unavailable.

        Raises MAYBE_CAUSED_BY_DATA: errors that never pass at once, others after some tries.
        """
        backoff, tries = Backoff(_RETRY_FIRST_S, _RETRY_MAX_S), 0
        while True:
            began = perf_counter()
            try:
                written = await write(self._pool, batch, self._late_horizon, self._rules)
            except UNSTORABLE:
                raise
            except database_errors() as error:
                tries += isinstance(error, MAYBE_CAUSED_BY_DATA)
                if tries >= _TRIES:
                    raise
                self._metrics.retries.inc()
                self._warn(error, retry_in_s=backoff.delay_s)
                await asyncio.sleep(backoff.next_s())
            else:
                self._metrics.commit_seconds.observe(perf_counter() - began)
                return written

    def _warn(self, error: Exception, *, retry_in_s: float) -> None:
        repeated = self._warnings.due()
        if repeated is not None:
            _log.warning(
                "batch_not_written",
                error=shortage(error) or str(error),
                retry_in_s=retry_in_s,
                repeated=repeated,
            )

    async def _isolate(self, batch: Sequence[IngestMessage], error: Exception) -> None:
        """Halve a batch that the database refuses, until the message that it refuses is alone."""
        if len(batch) > 1:
            half = len(batch) // 2
            await self._commit_and_acknowledge(batch[:half])
            await self._commit_and_acknowledge(batch[half:])
            return
        [message] = batch
        _log.error("message_unstorable", topic=message.topic, error=str(error))
        await self._commit_and_acknowledge([_rejected(message, type(error).__name__)])

    def _count(self, batch: Sequence[IngestMessage], written: WrittenBatch) -> None:
        metrics = self._metrics
        metrics.received.inc(written.received)
        metrics.stored.inc(written.stored)
        metrics.duplicate.inc(written.duplicate)
        metrics.ignored.inc(written.ignored)
        metrics.fields_ignored.inc(sum(m.decoded.fields_ignored for m in batch))
        for rejection in written.rejections:
            metrics.rejected.labels(rejection.refused.reason).inc(rejection.readings)
        metrics.batch_readings.observe(written.received)
        oldest = min(m.received_at for m in batch)
        metrics.receipt_to_commit_seconds.observe(self._clock.real_s(self._clock.now() - oldest))


def _rejected(message: IngestMessage, detail: str) -> IngestMessage:
    """Return a message that stores only the rejection of everything in it.

    A firmware's message may complete an earlier measurement, so it is decoded once more and its
    readings are rejected then. If that fails too, the message is rejected undecoded.
    """
    rejection = RejectedReading(RejectionReason.UNSTORABLE, detail)
    if message.addressed is not None and message.rejection is None:
        return replace(message, rejection=rejection)
    return replace(message, decoded=reject_all(message.decoded, rejection), addressed=None)
