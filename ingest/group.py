"""An ingester that shares the stream with others of its group.

The group keeps a fixed number of persistent sessions at the broker, each subscribed to the whole
stream. A session stores one share of the devices, and acknowledges the others' messages unread: so
each share is what a single ingester would be, whatever becomes of the others. Which member reads
which session is written in the database. Who joins is handed some; those of who leaves, or is not
seen for a while, go to another. Two can't read one: the broker cuts off the first.

When the stream is divided anew, or one ingester becomes a group, earlier sessions are read to their
end before any of the new ones is, and not before the broker has surely saved the new ones. What was
published meanwhile is in both, and comes once more in the same order, as it does after a kill.
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
from ingest.heartbeats import Heartbeats
from ingest.metrics import IngestMetrics
from ingest.session_reader import Phase, SessionReader
from ingest.subscriber import QOS, MessageQueue

_EVERY_MAX_S = 2.0
_LEAVE_S = 2.0
# Nobody is handed a session who was not seen within this share of the time after which one is gone.
_IS_THERE = 1 / 4

_log = structlog.get_logger()


class Group:
    """Reads what is ours of the group's sessions into the batcher; `publish` answers devices."""

    def __init__(
        self,
        settings: IngestSettings,
        group: str,
        pool: Pool,
        batcher: MessageQueue,
        metrics: IngestMetrics,
        clock: Clock = REAL_TIME,
    ) -> None:
        self._settings = settings
        self._group = group
        self._member = settings.ingest_client_id
        self._pool = pool
        self._batcher = batcher
        self._metrics = metrics
        self._clock = clock
        self._holder = uuid4()
        self._heartbeats = Heartbeats(self._member, self._holder)
        self._gone_after = settings.ingest_gone_after
        self._every_s = min(self._gone_after.total_seconds() / 12, _EVERY_MAX_S)
        self._tasks = asyncio.TaskGroup()
        self._ticked = asyncio.Event()
        self._phase = Phase(self._confirmed)
        self._readers: dict[str, SessionReader] = {}
        self._reading: dict[str, asyncio.Task[None]] = {}
        self._handing_over: asyncio.Task[None] | None = None
        self._changing = asyncio.Lock()
        self._is_member = False
        self._said: object = None

    async def run(self, started: asyncio.Event) -> None:
        """Stay in the group until cancelled; `started`: the broker keeps what is ours to store."""
        try:
            async with self._tasks:
                self._tasks.create_task(self._tell_when_started(started))
                while True:
                    await self._tick()
                    await asyncio.sleep(self._every_s)
        finally:
            await self._leave()

    async def publish(self, topic: str, payload: str, qos: int = QOS) -> None:
        """Publish if connected; what a device is told is a courtesy, not a record."""
        for reader in self._readers.values():
            if reader.subscriber.is_connected:
                await reader.subscriber.publish(topic, payload, qos)
                return

    async def is_heard(self, for_so_long: timedelta) -> bool:
        """Whether all that devices say has been read for so long, whichever member reads it."""
        return await ingest_sessions.are_read(
            self._pool, self._group, seen_within=self._gone_after, for_so_long=for_so_long
        )

    async def _tell_when_started(self, started: asyncio.Event) -> None:
        await self._confirmed()
        for reader in [*self._readers.values()]:
            await reader.kept.wait()
        started.set()

    async def _confirmed(self) -> None:
        """Wait until the database has told anew what is ours: then what isn't is not read."""
        await self._ticked.wait()

    async def _tick(self) -> None:
        try:
            async with self._changing:
                await self._go_on()
        except database_errors() as error:
            self._heartbeats.failed()
            _log.warning("group_not_reached", error=type(error).__name__)
            return
        ticked, self._ticked = self._ticked, asyncio.Event()
        ticked.set()

    async def _go_on(self) -> None:
        """Say that we are here, learn what is ours, and go by it."""
        await self._join()
        ours = await self._take()
        arrangement = await self._arrangement(self._pool)
        if arrangement.is_to_change(self._settings.ingest_sessions):
            await self._divide()
            ours = await self._take()
            arrangement = await self._arrangement(self._pool)
        self._go_by(arrangement)
        self._read_just(ours)
        await self._note_subscribed()
        await self._forget_former()
        await self._balance(arrangement)

    async def _join(self) -> None:
        before = await ingesters.join(
            self._pool, self._member, self._group, self._holder, self._settings.ingest_sessions
        )
        self._heartbeats.taken(before)
        gone_after = self._gone_for_certain()
        await ingest_sessions.adopt(self._pool, self._group, self._member, gone_after=gone_after)
        if gone_after is not None:
            await ingesters.forget(self._pool, self._group, gone_after=gone_after)

    def _gone_for_certain(self) -> timedelta | None:
        """Of how long not being seen one is gone; None while that can't be told."""
        return self._gone_after if self._heartbeats.are_steady(self._gone_after) else None

    async def _take(self) -> list[SharedSession]:
        """What is ours to read: what was, what nobody reads, and what was handed to us."""
        if not self._is_member:
            await ingest_sessions.reclaim(self._pool, self._group, self._holder, self._member)
        await ingest_sessions.take(
            self._pool, self._group, self._holder, self._member, gone_after=self._gone_for_certain()
        )
        self._is_member = True
        return await ingest_sessions.keep(self._pool, self._holder)

    async def _arrangement(self, conn: Connection | Pool) -> Arrangement:
        return await ingest_sessions.arrangement(
            conn, self._group, seen_within=self._gone_after, settled_after=self._gone_after
        )

    async def _divide(self) -> None:
        """Divide the stream anew, unless another member was faster."""
        sessions = self._settings.ingest_sessions
        async with self._pool.acquire() as conn, conn.transaction():
            await ingest_sessions.lock(conn)
            if (await self._arrangement(conn)).is_to_change(sessions):
                await ingest_sessions.divide(conn, self._group, sessions)
                _log.info("stream_divided", group=self._group, sessions=sessions)

    def _go_by(self, arrangement: Arrangement) -> None:
        for event, is_so in (
            (self._phase.is_open, arrangement.is_open),
            (self._phase.is_settled, arrangement.is_settled),
        ):
            (event.set if is_so else event.clear)()
        said = (arrangement.is_open, arrangement.others, arrangement.wanted)
        if said != self._said:
            self._said = said
            self._say(arrangement)

    def _say(self, arrangement: Arrangement) -> None:
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

    def _read_just(self, ours: list[SharedSession]) -> None:
        """Begin to read what is ours, and cease to read what is not."""
        for client_id in self._readers.keys() - {session.client_id for session in ours}:
            self._cease(client_id)
        for session in ours:
            if (reader := self._readers.get(session.client_id)) is None:
                self._begin(session)
            else:
                reader.update(session)
        self._metrics.sessions.set(len(self._readers))

    def _begin(self, session: SharedSession) -> None:
        reader = SessionReader(
            self._settings,
            self._batcher,
            self._metrics,
            self._group,
            session,
            self._phase,
            self._clock,
        )
        _log.info("session_taken", session=session.client_id, share=session.share)
        self._readers[session.client_id] = reader
        self._reading[session.client_id] = self._tasks.create_task(reader.run())

    def _cease(self, client_id: str) -> asyncio.Task[None]:
        self._readers.pop(client_id).kept.set()  # nobody is to wait for it
        reading = self._reading.pop(client_id)
        reading.cancel()
        return reading

    async def _forget_former(self) -> None:
        """Those that are read to their end: until they are forgotten, the new ones wait."""
        for client_id, reading in [*self._reading.items()]:
            if reading.done() and not reading.cancelled():
                await ingest_sessions.remove(self._pool, client_id, self._holder)

    async def _note_subscribed(self) -> None:
        for reader in [*self._readers.values()]:
            session = reader.session
            if reader.kept.is_set() and not (session.is_subscribed or session.is_former):
                await ingest_sessions.note_subscribed(self._pool, session.client_id, self._holder)

    async def _balance(self, arrangement: Arrangement) -> None:
        """Hand a session to a member that reads fewer, so much fewer that it helps."""
        is_busy = self._handing_over is not None and not self._handing_over.done()
        if is_busy or not arrangement.is_open or len(self._readers) < 2:
            return
        other = await ingest_sessions.fewest(
            self._pool, self._group, self._holder, seen_within=self._gone_after * _IS_THERE
        )
        if other is not None and len(self._readers) - other.sessions >= 2:
            # Until the broker keeps it, whoever has it goes on to have it subscribed.
            kept = [reader for reader in self._readers.values() if reader.session.is_subscribed]
            if kept:
                last = max(kept, key=lambda reader: reader.session.share)
                self._handing_over = self._tasks.create_task(self._hand_over(last, other))

    async def _hand_over(self, reader: SessionReader, to: Member) -> None:
        """Until it is another's, the session counts among ours: nobody else begins to read it."""
        client_id = reader.session.client_id
        await reader.finish()
        if self._readers.get(client_id) is not reader:
            return
        reading = self._reading[client_id]
        reading.cancel()
        await asyncio.wait([reading])
        # Not while we are told what is ours: that would be out of date when we go by it.
        async with self._changing:
            try:
                await ingest_sessions.hand_over(self._pool, client_id, self._holder, to)
                _log.info("session_handed_over", session=client_id, to=to.member)
            except database_errors() as error:
                _log.warning("session_not_handed_over", error=type(error).__name__)
            if self._readers.get(client_id) is reader:
                self._cease(client_id)

    async def _leave(self) -> None:
        """Let others read what is ours at once; if that fails, they do once we are gone."""
        with suppress(*database_errors()):
            async with asyncio.timeout(_LEAVE_S):
                await ingest_sessions.release(self._pool, self._holder)
                await ingesters.leave(self._pool, self._member, self._holder)
