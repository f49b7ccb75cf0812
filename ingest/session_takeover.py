"""Ingesters know of each other: whose session nobody reads any more, and who reads another's.

Each names its client id in the database again and again. Of a group that shares a subscription, the
broker deals each message to one member, and keeps it for that one however long it is gone. So a
member that was not seen for a while is inherited: another one connects under its client id, stops
what would still be dealt to it, takes what the broker kept for it, and forgets it. When it returns
meanwhile, the broker cuts off its heir.
"""

import asyncio
from dataclasses import replace
from uuid import uuid4

import structlog

from core.clock import REAL_TIME, Clock
from core.exceptions import root_cause
from core.settings import IngestSettings
from db import ingest_sessions, ingesters
from db.errors import database_errors
from db.pool import Pool
from ingest.heartbeats import Heartbeats
from ingest.metrics import IngestMetrics
from ingest.mqtt.connection import MqttError
from ingest.subscriber import MessageQueue, Subscriber, own_session

_log = structlog.get_logger()


class SessionTakeover:
    """What an ingester with a session of its own does to be known, and about those who are gone."""

    def __init__(
        self,
        settings: IngestSettings,
        pool: Pool,
        batcher: MessageQueue,
        metrics: IngestMetrics,
        clock: Clock = REAL_TIME,
    ) -> None:
        self._settings = settings
        self._pool = pool
        self._batcher = batcher
        self._metrics = metrics
        self._clock = clock
        self._holder = uuid4()
        self._heartbeats = Heartbeats(settings.ingest_client_id, self._holder)
        self._has_looked = False
        self._every_s = settings.ingest_gone_after.total_seconds() / 12

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
                self._heartbeats.taken(before)
                await self._look_for_sessions_left()
            except database_errors():
                self._heartbeats.failed()
            await asyncio.sleep(self._every_s)

    async def _look_for_sessions_left(self) -> None:
        """Say once if a group has left sessions: the broker goes on to queue for them."""
        gone_after = self._settings.ingest_gone_after
        if self._has_looked or not self._heartbeats.are_steady(gone_after):
            return
        self._has_looked = True
        if left := await ingest_sessions.unread(self._pool, gone_after=gone_after):
            _log.warning("sessions_left", sessions=left, do="run a member of their group")

    async def _inherit_all(self, group: str) -> None:
        gone_after = self._settings.ingest_gone_after
        while True:
            await asyncio.sleep(self._every_s)
            if not self._heartbeats.are_steady(gone_after):
                continue
            try:
                client_id = await ingesters.inherit(
                    self._pool, group, self._holder, gone_after=gone_after
                )
                if client_id is not None:
                    await self._inherit(client_id)
            except database_errors() as error:
                _log.warning("not_inherited", error=type(error).__name__)

    async def _inherit(self, client_id: str) -> None:
        """Take what the broker keeps for a member that is gone; cut off, leave it to the next."""
        _log.warning("inherits", client_id=client_id)
        session = replace(own_session(self._settings), client_id=client_id)
        subscriber = Subscriber(self._settings, self._batcher, self._metrics, session, self._clock)
        try:
            async with asyncio.TaskGroup() as tasks:
                reading = tasks.create_task(subscriber.read_remaining(asyncio.Event()))
                await self._exhaust(client_id, subscriber)
                reading.cancel()
        except* MqttError as errors:
            _log.warning("inheritance_ended", client_id=client_id, error=str(root_cause(errors)))
        else:
            await ingesters.release(self._pool, client_id, self._holder)

    async def _exhaust(self, client_id: str, subscriber: Subscriber) -> None:
        """Wait until nothing is left to take, or its owner has returned."""
        while await self._still_holds(client_id):
            if subscriber.is_exhausted():
                return
            await asyncio.sleep(self._every_s)

    async def _still_holds(self, client_id: str) -> bool:
        """Whether its owner has not returned, as far as anyone knows."""
        try:
            return await ingesters.still_hold(self._pool, client_id, self._holder)
        except database_errors():
            return True
