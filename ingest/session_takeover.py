"""Heartbeats of ingesters, and the takeover of the session of an ingester that is gone.

Each ingester records its client id in the database again and again. With a shared subscription the
broker gives each message to one member of the group and queues it for that member, however long the
member is gone. So another member takes over the session of one that was not seen for a while: it
connects under that client id, unsubscribes so that nothing new is queued, stores what is queued,
and removes the session. If the owner returns meanwhile, the broker disconnects the other.
"""

import asyncio
import time
from dataclasses import replace
from datetime import timedelta
from uuid import UUID, uuid4

import structlog

from core.clock import REAL_TIME, Clock
from core.exceptions import root_cause
from core.settings import IngestSettings
from db import ingest_sessions, ingesters
from db.errors import database_errors
from db.pool import Pool
from ingest.metrics import IngestMetrics
from ingest.mqtt.connection import MqttError
from ingest.subscriber import MessageQueue, Subscriber, own_session

# An ingester sends this many heartbeats within the time after which it counts as gone, so single
# failures do not matter.
HEARTBEATS_PER_TIMEOUT = 12

# A restarted process sees the id of its predecessor once. Two processes that run with the same
# client id see each other's at every heartbeat.
_CONTESTED_TIMES = 2

_log = structlog.get_logger()


class Heartbeats:
    """The history of this ingester's heartbeats: whether they succeed, and whether it is alone.

    `holder` is the id of this process; another process with the same client id has another.
    """

    def __init__(self, client_id: str, holder: UUID) -> None:
        self._client_id = client_id
        self._holder = holder
        self._steady_since_s: float | None = None
        self._contested = 0

    def failed(self) -> None:
        self._steady_since_s = None

    def succeeded(self, previous: UUID | None) -> None:
        """Note a heartbeat. `previous` is the process that recorded the client id before."""
        if self._steady_since_s is None:
            self._steady_since_s = time.monotonic()
        elif previous is not None and previous != self._holder:
            self._contested += 1
            if self._contested >= _CONTESTED_TIMES:
                _log.error(
                    "client_id_used_twice",
                    client_id=self._client_id,
                    do="give each ingester a SOLARHUB_INGEST_CLIENT_ID of its own",
                )
        else:
            self._contested = 0

    def are_steady(self, for_so_long: timedelta) -> bool:
        """Return whether all heartbeats have succeeded for that long.

        After an outage of the database nobody was seen for long, though all may be alive. Only
        after steady heartbeats does it mean anything that another was not seen.
        """
        steady = self._steady_since_s
        return steady is not None and time.monotonic() - steady >= for_so_long.total_seconds()


class SessionTakeover:
    """The heartbeats of an ingester with a session of its own, and takeovers of others' sessions.

    Only members of a group with a shared subscription take over sessions.
    """

    def __init__(
        self,
        settings: IngestSettings,
        pool: Pool,
        queue: MessageQueue,
        metrics: IngestMetrics,
        clock: Clock = REAL_TIME,
    ) -> None:
        self._settings = settings
        self._pool = pool
        self._queue = queue
        self._metrics = metrics
        self._clock = clock
        self._holder = uuid4()
        self._heartbeats = Heartbeats(settings.ingest_client_id, self._holder)
        self._has_checked = False
        self._every_s = settings.ingest_gone_after.total_seconds() / HEARTBEATS_PER_TIMEOUT

    async def run(self) -> None:
        """Send heartbeats and take over sessions until cancelled."""
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(self._send_heartbeats())
            if self._settings.ingest_group is not None:
                tasks.create_task(self._take_over_sessions(self._settings.ingest_group))

    async def _send_heartbeats(self) -> None:
        client_id, group = self._settings.ingest_client_id, self._settings.ingest_group
        while True:
            try:
                async with self._pool.acquire() as conn:
                    previous = await ingesters.hold(conn, client_id, group, self._holder)
                self._heartbeats.succeeded(previous)
                await self._check_for_unread_sessions()
            except database_errors():
                self._heartbeats.failed()
            await asyncio.sleep(self._every_s)

    async def _check_for_unread_sessions(self) -> None:
        """Log once if a group has left sessions: the broker goes on queuing messages for them."""
        gone_after = self._settings.ingest_gone_after
        if self._has_checked or not self._heartbeats.are_steady(gone_after):
            return
        self._has_checked = True
        async with self._pool.acquire() as conn:
            unread = await ingest_sessions.unread(conn, gone_after=gone_after)
        if unread:
            _log.warning("sessions_left", sessions=unread, do="run a member of their group")

    async def _take_over_sessions(self, group: str) -> None:
        gone_after = self._settings.ingest_gone_after
        while True:
            await asyncio.sleep(self._every_s)
            if not self._heartbeats.are_steady(gone_after):
                continue
            try:
                async with self._pool.acquire() as conn:
                    client_id = await ingesters.inherit(
                        conn, group, self._holder, gone_after=gone_after
                    )
                if client_id is not None:
                    await self._take_over(client_id)
            except database_errors() as error:
                _log.warning("session_takeover_failed", error=type(error).__name__)

    async def _take_over(self, client_id: str) -> None:
        """Store what the broker queues for a member that is gone, and remove its session.

        If the connection is lost, the session stays for the next takeover or for its owner.
        """
        _log.warning("session_takeover_started", client_id=client_id)
        session = replace(own_session(self._settings), client_id=client_id)
        subscriber = Subscriber(self._settings, self._queue, self._metrics, session, self._clock)
        try:
            async with asyncio.TaskGroup() as tasks:
                reading = tasks.create_task(subscriber.read_remaining(asyncio.Event()))
                await self._wait_until_exhausted(client_id, subscriber)
                reading.cancel()
        except* MqttError as errors:
            _log.warning(
                "session_takeover_ended", client_id=client_id, error=str(root_cause(errors))
            )
        else:
            async with self._pool.acquire() as conn:
                await ingesters.release(conn, client_id, self._holder)

    async def _wait_until_exhausted(self, client_id: str, subscriber: Subscriber) -> None:
        """Wait until the session has no more messages, or its owner has returned."""
        while await self._still_holds(client_id):
            if subscriber.is_exhausted():
                return
            await asyncio.sleep(self._every_s)

    async def _still_holds(self, client_id: str) -> bool:
        """Return False if the owner has returned; an outage of the database does not show that."""
        try:
            async with self._pool.acquire() as conn:
                return await ingesters.still_hold(conn, client_id, self._holder)
        except database_errors():
            return True
