"""A member of a group of ingesters, which divides the stream among persistent sessions.

The group keeps a fixed number of sessions at the broker, each subscribed to the whole stream. A
session stores one share of the devices and acknowledges the others' messages unread. So each share
is as reliable as a single ingester, whatever happens to the other sessions. The database records
which member reads which session. A new member gets some sessions of the others; the sessions of a
member that leaves or is not seen for a while go to other members. Two members can't read the same
session: the broker disconnects the first.

When the number of shares changes, or a single ingester becomes a group, the earlier sessions are
read to their end before any new one is, and not before the broker has saved the new ones. Messages
of that time are in both; they are stored twice in the same order, as after a kill, and count as
duplicates.
"""

import asyncio
from contextlib import suppress
from datetime import timedelta
from uuid import uuid4

import structlog

from core.clock import REAL_TIME, Clock
from core.settings import IngestSettings
from db import ingest_sessions, ingesters
from db.errors import database_errors
from db.ingest_sessions import Arrangement, Member, SharedSession
from db.pool import Connection, Pool
from ingest.metrics import IngestMetrics
from ingest.session_reader import Phase, SessionReader
from ingest.session_takeover import HEARTBEATS_PER_TIMEOUT, Heartbeats
from ingest.subscriber import QOS, MessageQueue

_HEARTBEAT_MAX_S = 2.0
_LEAVE_TIMEOUT_S = 2.0
# A session is handed only to a member that was seen within this share of the time after which a
# member counts as gone: otherwise the session might wait for a member that is dead.
_RECENT = 1 / 4

_log = structlog.get_logger()


class Group:
    """A membership in a group: reads the member's sessions into the queue, publishes notices.

    Each heartbeat records in the database that this process is alive, and lists the sessions that
    it is to read. While the database is unavailable, sessions are read on: the broker prevents that
    two processes read one at once, and a reader that reconnects waits for the next heartbeat.
    """

    def __init__(
        self,
        settings: IngestSettings,
        group: str,
        pool: Pool,
        queue: MessageQueue,
        metrics: IngestMetrics,
        clock: Clock = REAL_TIME,
    ) -> None:
        self._settings = settings
        self._group = group
        self._member = settings.ingest_client_id
        self._pool = pool
        self._queue = queue
        self._metrics = metrics
        self._clock = clock
        # This process, as opposed to another with the same client id.
        self._holder = uuid4()
        self._heartbeats = Heartbeats(self._member, self._holder)
        self._gone_after = settings.ingest_gone_after
        self._every_s = min(
            self._gone_after.total_seconds() / HEARTBEATS_PER_TIMEOUT, _HEARTBEAT_MAX_S
        )
        self._tasks = asyncio.TaskGroup()
        # Set at each successful heartbeat, and replaced by a new event.
        self._updated = asyncio.Event()
        self._phase = Phase(self._next_update)
        # Readers and their tasks, by the client ids of their sessions: both have the same keys.
        self._readers: dict[str, SessionReader] = {}
        self._reading: dict[str, asyncio.Task[None]] = {}
        self._handover: asyncio.Task[None] | None = None
        # Held while the list of sessions is read and followed, and while one is handed over: a list
        # from before the handover must not be followed after it.
        self._changing = asyncio.Lock()
        self._has_joined = False
        self._logged: object = None

    async def run(self, started: asyncio.Event) -> None:
        """Be a member until cancelled.

        `started` is set once the broker queues every message that this member is to store.
        """
        try:
            async with self._tasks:
                self._tasks.create_task(self._set_when_subscribed(started))
                while True:
                    await self._heartbeat()
                    await asyncio.sleep(self._every_s)
        finally:
            await self._leave()

    async def publish(self, topic: str, payload: str, qos: int = QOS) -> None:
        """Publish by any session that is connected, or not at all: delivery is best effort."""
        for reader in self._readers.values():
            if reader.subscriber.is_connected:
                await reader.subscriber.publish(topic, payload, qos)
                return

    async def is_receiving(self, for_so_long: timedelta) -> bool:
        """Return whether every session of the group has been read for that long, by any member."""
        async with self._pool.acquire() as conn:
            return await ingest_sessions.are_read(
                conn, self._group, seen_within=self._gone_after, for_so_long=for_so_long
            )

    async def _set_when_subscribed(self, started: asyncio.Event) -> None:
        await self._next_update()
        for reader in [*self._readers.values()]:
            await reader.subscribed.wait()
        started.set()

    async def _next_update(self) -> None:
        """Wait for the next list of this member's sessions: readers of other sessions end then."""
        await self._updated.wait()

    async def _heartbeat(self) -> None:
        try:
            async with self._changing, self._pool.acquire() as conn:
                await self._update(conn)
        except database_errors() as error:
            self._heartbeats.failed()
            _log.warning("group_not_updated", error=type(error).__name__)
            return
        updated, self._updated = self._updated, asyncio.Event()
        updated.set()

    async def _update(self, conn: Connection) -> None:
        """Report this member as alive, list its sessions, and read exactly these."""
        await self._join(conn)
        sessions = await self._claim_sessions(conn)
        arrangement = await self._arrangement(conn)
        if arrangement.is_to_change(self._settings.ingest_sessions):
            await self._divide(conn)
            sessions = await self._claim_sessions(conn)
            arrangement = await self._arrangement(conn)
        self._update_phase(arrangement)
        self._read_exactly(sessions)
        await self._record_subscribed(conn)
        await self._remove_finished(conn)
        await self._balance(conn, arrangement)

    async def _join(self, conn: Connection) -> None:
        previous = await ingesters.join(
            conn, self._member, self._group, self._holder, self._settings.ingest_sessions
        )
        self._heartbeats.succeeded(previous)
        gone_after = self._certainly_gone_after()
        await ingest_sessions.adopt(conn, self._group, self._member, gone_after=gone_after)
        if gone_after is not None:
            await ingesters.forget(conn, self._group, gone_after=gone_after)

    def _certainly_gone_after(self) -> timedelta | None:
        """Return after how long a member that is not seen is gone; None while that is unknown."""
        return self._gone_after if self._heartbeats.are_steady(self._gone_after) else None

    async def _claim_sessions(self, conn: Connection) -> list[SharedSession]:
        """Claim this member's earlier sessions and those that nobody reads. Returns all of its own.

        Other members may have handed over further sessions.
        """
        if not self._has_joined:
            await ingest_sessions.reclaim(conn, self._group, self._holder, self._member)
        await ingest_sessions.take(
            conn,
            self._group,
            self._holder,
            self._member,
            gone_after=self._certainly_gone_after(),
        )
        self._has_joined = True
        return await ingest_sessions.keep(conn, self._holder)

    async def _arrangement(self, conn: Connection) -> Arrangement:
        return await ingest_sessions.arrangement(
            conn, self._group, seen_within=self._gone_after, settled_after=self._gone_after
        )

    async def _divide(self, conn: Connection) -> None:
        """Divide the stream into other shares, unless another member has just done so."""
        sessions = self._settings.ingest_sessions
        async with conn.transaction():
            await ingest_sessions.lock(conn)
            if (await self._arrangement(conn)).is_to_change(sessions):
                await ingest_sessions.divide(conn, self._group, sessions)
                _log.info("stream_divided", group=self._group, sessions=sessions)

    def _update_phase(self, arrangement: Arrangement) -> None:
        for event, is_set in (
            (self._phase.is_open, arrangement.is_open),
            (self._phase.is_settled, arrangement.is_settled),
        ):
            (event.set if is_set else event.clear)()
        logged = (arrangement.is_open, arrangement.others, arrangement.wanted)
        if logged != self._logged:
            self._logged = logged
            self._log_arrangement(arrangement)

    def _log_arrangement(self, arrangement: Arrangement) -> None:
        if len(arrangement.wanted) > 1:
            _log.warning(
                "sessions_differ",
                wanted=arrangement.wanted,
                do="give all members of the group the same SOLARHUB_INGEST_SESSIONS",
            )
        if not arrangement.is_open:
            _log.info(
                "earlier_sessions_first", former=arrangement.former, others=arrangement.others
            )

    def _read_exactly(self, sessions: list[SharedSession]) -> None:
        """Start readers of new sessions, and stop readers of sessions that are not listed."""
        for client_id in self._readers.keys() - {session.client_id for session in sessions}:
            self._stop_reader(client_id)
        for session in sessions:
            if (reader := self._readers.get(session.client_id)) is None:
                self._start_reader(session)
            else:
                reader.update(session)
        self._metrics.sessions.set(len(self._readers))

    def _start_reader(self, session: SharedSession) -> None:
        reader = SessionReader(
            self._settings,
            self._queue,
            self._metrics,
            self._group,
            session,
            self._phase,
            self._clock,
        )
        _log.info("session_claimed", session=session.client_id, share=session.share)
        self._readers[session.client_id] = reader
        self._reading[session.client_id] = self._tasks.create_task(reader.run())

    def _stop_reader(self, client_id: str) -> None:
        # The event is set so that `run` does not wait for a session of another member.
        self._readers.pop(client_id).subscribed.set()
        self._reading.pop(client_id).cancel()

    async def _remove_finished(self, conn: Connection) -> None:
        """Remove former sessions that are read to their end: the new ones wait for that."""
        for client_id, reading in [*self._reading.items()]:
            if reading.done() and not reading.cancelled():
                await ingest_sessions.remove(conn, client_id, self._holder)

    async def _record_subscribed(self, conn: Connection) -> None:
        for reader in [*self._readers.values()]:
            session = reader.session
            if reader.subscribed.is_set() and not (session.is_subscribed or session.is_former):
                await ingest_sessions.note_subscribed(conn, session.client_id, self._holder)

    async def _balance(self, conn: Connection, arrangement: Arrangement) -> None:
        """Hand a session to the member with the fewest, if it has at least two fewer.

        With a difference of one the session would only move back and forth.
        """
        is_busy = self._handover is not None and not self._handover.done()
        if is_busy or not arrangement.is_open or len(self._readers) < 2:
            return
        other = await ingest_sessions.fewest(
            conn, self._group, self._holder, seen_within=self._gone_after * _RECENT
        )
        if other is None or len(self._readers) - other.sessions < 2:
            return
        # A session that the broker does not queue for yet stays: its reader is to subscribe it.
        subscribed = [reader for reader in self._readers.values() if reader.session.is_subscribed]
        if subscribed:
            last = max(subscribed, key=lambda reader: reader.session.share)
            self._handover = self._tasks.create_task(self._hand_over(last, other))

    async def _hand_over(self, reader: SessionReader, to: Member) -> None:
        """Commit what was received, end the connection, then let the other member read.

        Until the database records the other member, the session counts as this member's: nobody
        reads it meanwhile.
        """
        client_id = reader.session.client_id
        await reader.finish()
        if self._readers.get(client_id) is not reader:
            return
        reading = self._reading[client_id]
        reading.cancel()
        await asyncio.wait([reading])
        async with self._changing:
            try:
                async with self._pool.acquire() as conn:
                    await ingest_sessions.hand_over(conn, client_id, self._holder, to)
                _log.info("session_handed_over", session=client_id, to=to.member)
            except database_errors() as error:
                _log.warning("session_handover_failed", error=type(error).__name__)
            if self._readers.get(client_id) is reader:
                self._stop_reader(client_id)

    async def _leave(self) -> None:
        """Release this member's sessions, so that others read them at once.

        If that fails, they do after `ingest_gone_after`.
        """
        with suppress(*database_errors()):
            async with asyncio.timeout(_LEAVE_TIMEOUT_S):
                async with self._pool.acquire() as conn:
                    await ingest_sessions.release(conn, self._holder)
                    await ingesters.leave(conn, self._member, self._holder)
