"""Reads one session of a group, until it is handed on, or was of use and is forgotten."""

import asyncio
from collections.abc import Awaitable, Callable
from contextlib import suppress
from dataclasses import dataclass, field
from functools import partial

import aiomqtt
import structlog

from core.settings import IngestSettings
from db.ingest_sessions import SharedSession
from ingest.metrics import IngestMetrics
from ingest.shares import Share
from ingest.subscriber import TOPICS, Session, Sink, Subscriber, first, shared

_FINISH_S = 10.0
_RETRY_S = 1.0
_POLL_S = 0.1

_log = structlog.get_logger()


@dataclass(frozen=True, slots=True)
class Phase:
    """What all sessions that a member reads have in common.

    `is_open`: all that earlier sessions held is stored. `is_settled`: the broker has surely saved
    the sessions of the present arrangement. `confirmed` returns once the database has told anew
    what is ours.
    """

    confirmed: Callable[[], Awaitable[None]]
    is_open: asyncio.Event = field(default_factory=asyncio.Event)
    is_settled: asyncio.Event = field(default_factory=asyncio.Event)


class SessionReader:
    """`run` reads until it is cancelled, or a former session is read to its end.

    `kept` is set once the broker keeps for it all that it is to store.
    """

    def __init__(
        self,
        settings: IngestSettings,
        batcher: Sink,
        metrics: IngestMetrics,
        group: str,
        session: SharedSession,
        phase: Phase,
    ) -> None:
        self.session = session
        self.kept = asyncio.Event()
        self._group = group
        self._phase = phase
        self._is_former = asyncio.Event()
        self._reads = partial(Subscriber, settings, batcher, metrics)
        self._share = Share(session.share, session.shares)
        self.subscriber: Subscriber = self._reads(Session(session.client_id, TOPICS, self._share))
        self.update(session)

    def update(self, session: SharedSession) -> None:
        """It may have become a former one."""
        self.session = session
        if session.is_former:
            self._is_former.set()
            self.kept.set()

    async def run(self) -> None:
        async with asyncio.TaskGroup() as tasks:
            reading = tasks.create_task(self._read())
            await self._is_former.wait()
            await self._phase.is_settled.wait()
            await self.finish()
            reading.cancel()
        await self._read_to_its_end()

    async def finish(self) -> None:
        """Read no more, and wait for what is in hand; where that takes long, it comes again."""
        with suppress(TimeoutError, aiomqtt.MqttError):
            async with asyncio.timeout(_FINISH_S):
                await self.subscriber.finish()

    async def _read(self) -> None:
        if self._is_former.is_set():
            return  # what it holds has time
        if not self._phase.is_open.is_set():
            await self._retried(self.subscriber.subscribe_only)
            self.kept.set()
            await self._phase.is_open.wait()
        await self.subscriber.run(self.kept, self._phase.confirmed)

    async def _read_to_its_end(self) -> None:
        """Have the broker add nothing, and take what it kept."""
        filters = (*TOPICS, *shared(self._group))
        self.subscriber = self._reads(Session(self.session.client_id, filters, self._share))
        _log.info("session_read_to_its_end", session=self.session.client_id)
        await self._retried(self._exhaust)

    async def _exhaust(self) -> None:
        async with asyncio.TaskGroup() as tasks:
            reading = tasks.create_task(self.subscriber.read_what_is_left(asyncio.Event()))
            while True:
                await asyncio.sleep(_POLL_S)
                if self.subscriber.is_exhausted():
                    break
            reading.cancel()

    async def _retried(self, act: Callable[[], Awaitable[None]]) -> None:
        """Again while the broker is away, and the session still ours."""
        while True:
            try:
                await act()
            except* aiomqtt.MqttError as errors:
                _log.warning("broker_lost", session=self.session.client_id, error=first(errors))
            else:
                return
            await asyncio.sleep(_RETRY_S)
            await self._phase.confirmed()
