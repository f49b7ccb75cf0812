"""Ingesters know of each other: whose session nobody reads any more, and who reads another's.

Each names its client id in the database again and again. Of a group, the broker deals each message
to one member, and keeps it for that one however long it is gone. So a member that was not seen for
a while is inherited: another one connects under its client id, stops what would still be dealt to
it, takes what the broker kept for it, and forgets it. When it returns meanwhile, the broker cuts
off its heir.
"""

import asyncio
import time
from dataclasses import replace
from uuid import UUID, uuid4

import aiomqtt
import structlog

from core.settings import IngestSettings
from db import ingesters
from db.errors import DATABASE_ERRORS, UNAVAILABLE, mind_cancellation
from db.pool import Pool
from ingest.messages import Message
from ingest.metrics import IngestMetrics
from ingest.subscriber import Sink, Subscriber, first

_NOTHING_CAME_S = 5.0
# One rival is seen once when a new process replaces an old one; two who stay see each other always.
_CONTESTED_TIMES = 2

_log = structlog.get_logger()


class Membership:
    """What an ingester does to be known, and about those who are gone."""

    def __init__(
        self,
        settings: IngestSettings,
        pool: Pool,
        batcher: Sink,
        metrics: IngestMetrics,
    ) -> None:
        self._settings = settings
        self._pool = pool
        self._batcher = batcher
        self._metrics = metrics
        self._holder = uuid4()
        self._every_s = settings.ingest_gone_after.total_seconds() / 12
        self._steady_since_s: float | None = None
        self._contested = 0

    async def run(self) -> None:
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(self._stay())
            if self._settings.ingest_group is not None:
                tasks.create_task(self._inherit_all(self._settings.ingest_group))

    async def _stay(self) -> None:
        """Show that we are alive, until cancelled."""
        mine, group = self._settings.ingest_client_id, self._settings.ingest_group
        while True:
            try:
                before = await ingesters.hold(self._pool, mine, group, self._holder)
            except (*UNAVAILABLE, *DATABASE_ERRORS) as error:
                mind_cancellation(error)
                self._steady_since_s = None
            else:
                self._look_at(before)
            await asyncio.sleep(self._every_s)

    def _look_at(self, before: UUID | None) -> None:
        """Who held our session: whoever was before us, or at the same time as we."""
        if self._steady_since_s is None:
            self._steady_since_s = time.monotonic()
        elif before is not None and before != self._holder:
            self._contested += 1
            if self._contested >= _CONTESTED_TIMES:
                _log.error(
                    "client_id_used_twice",
                    client_id=self._settings.ingest_client_id,
                    do="give each ingester a SOLARHUB_INGEST_CLIENT_ID of its own:"
                    " the broker cuts one off whenever the other connects",
                )
        else:
            self._contested = 0

    async def _inherit_all(self, group: str) -> None:
        gone_after = self._settings.ingest_gone_after
        while True:
            await asyncio.sleep(self._every_s)
            # After a database that was away nobody was seen for long: first let all be seen.
            steady = self._steady_since_s
            if steady is None or time.monotonic() - steady < gone_after.total_seconds():
                continue
            try:
                client_id = await ingesters.inherit(
                    self._pool, group, self._holder, gone_after=gone_after
                )
                if client_id is not None:
                    await self._inherit(client_id)
            except (*UNAVAILABLE, *DATABASE_ERRORS) as error:
                mind_cancellation(error)
                _log.warning("not_inherited", error=type(error).__name__)

    async def _inherit(self, client_id: str) -> None:
        """Take what the broker keeps for a member that is gone; cut off, leave it to the next."""
        _log.warning("inherits", client_id=client_id)
        estate = _Estate(self._batcher)
        settings = self._settings.model_copy(update={"ingest_client_id": client_id})
        subscriber = Subscriber(settings, estate, self._metrics)
        try:
            async with asyncio.TaskGroup() as tasks:
                connected = asyncio.Event()
                reading = tasks.create_task(subscriber.inherit(connected))
                await connected.wait()
                await self._exhaust(client_id, estate)
                reading.cancel()
        except* aiomqtt.MqttError as errors:
            _log.warning("inheritance_ended", client_id=client_id, error=first(errors))
        else:
            await ingesters.release(self._pool, client_id, self._holder)

    async def _exhaust(self, client_id: str, estate: "_Estate") -> None:
        """Wait until nothing is left to take, or its owner has returned."""
        while await self._still_holds(client_id):
            if estate.is_exhausted():
                return
            await asyncio.sleep(self._every_s)

    async def _still_holds(self, client_id: str) -> bool:
        """Whether its owner has not returned, as far as anyone knows."""
        try:
            return await ingesters.still_hold(self._pool, client_id, self._holder)
        except (*UNAVAILABLE, *DATABASE_ERRORS) as error:
            mind_cancellation(error)
            return True


class _Estate:
    """What comes out of an inherited session, on its way to the batcher that all goes to."""

    def __init__(self, batcher: Sink) -> None:
        self._batcher = batcher
        self._unacknowledged = 0
        self._quiet_since_s: float | None = None

    def is_exhausted(self) -> bool:
        """Whether all that came is committed, and nothing has come for a while of being asked."""
        now_s = time.monotonic()
        if self._unacknowledged or self._quiet_since_s is None:
            self._quiet_since_s = now_s
        return now_s - self._quiet_since_s > _NOTHING_CAME_S

    async def put(self, message: Message) -> None:
        def acknowledge() -> None:
            message.acknowledge()
            self._unacknowledged -= 1
            self._quiet_since_s = None

        self._unacknowledged += 1
        await self._batcher.put(replace(message, acknowledge=acknowledge))
