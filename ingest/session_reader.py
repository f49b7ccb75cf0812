"""The reader of one session of a group, until another member takes it or it is read to its end."""

import asyncio
from collections.abc import Awaitable, Callable
from contextlib import suppress
from dataclasses import dataclass, field
from functools import partial

import structlog

from core.clock import REAL_TIME, Clock
from core.exceptions import root_cause
from core.settings import IngestSettings
from db.ingest_sessions import SharedSession
from ingest.metrics import IngestMetrics
from ingest.mqtt.connection import MqttError
from ingest.shares import Share
from ingest.subscriber import (
    TOPIC_FILTERS,
    MessageQueue,
    MqttSession,
    Subscriber,
    shared_filters,
)

# Messages that take longer to commit are not waited for: the broker sends them to the next reader.
_FINISH_WITHIN_S = 10.0
_RETRY_S = 1.0
_POLL_S = 0.1

_log = structlog.get_logger()


@dataclass(frozen=True, slots=True)
class Phase:
    """The state that all sessions of a member have in common.

    `is_open`: everything in earlier sessions is stored. `is_settled`: the broker has saved the
    sessions of the present arrangement. `confirmed` returns once the database has listed anew which
    sessions the member reads.
    """

    confirmed: Callable[[], Awaitable[None]]
    is_open: asyncio.Event = field(default_factory=asyncio.Event)
    is_settled: asyncio.Event = field(default_factory=asyncio.Event)


class SessionReader:
    """Reads a session until cancelled, or until a former session is read to its end.

    `subscribed` is set once the broker queues for the session every message that it is to store.
    """

    def __init__(
        self,
        settings: IngestSettings,
        queue: MessageQueue,
        metrics: IngestMetrics,
        group: str,
        session: SharedSession,
        phase: Phase,
        clock: Clock = REAL_TIME,
    ) -> None:
        self.session = session
        self.subscribed = asyncio.Event()
        self._group = group
        self._phase = phase
        self._is_former = asyncio.Event()
        self._subscriber_of = partial(Subscriber, settings, queue, metrics, clock=clock)
        self._share = Share(session.share, session.shares)
        self.subscriber: Subscriber = self._subscriber_of(
            MqttSession(session.client_id, TOPIC_FILTERS, self._share)
        )
        self.update(session)

    def update(self, session: SharedSession) -> None:
        """Take over the session's new state: it may have become a former one."""
        self.session = session
        if session.is_former:
            self._is_former.set()
            self.subscribed.set()

    async def run(self) -> None:
        async with asyncio.TaskGroup() as tasks:
            reading = tasks.create_task(self._read())
            await self._is_former.wait()
            await self._phase.is_settled.wait()
            await self.finish()
            reading.cancel()
        await self._read_to_its_end()

    async def finish(self) -> None:
        """Accept no more messages, and wait a limited time for the accepted ones."""
        with suppress(TimeoutError, MqttError):
            async with asyncio.timeout(_FINISH_WITHIN_S):
                await self.subscriber.finish()

    async def _read(self) -> None:
        if self._is_former.is_set():
            return  # `run` reads it once the new sessions are settled
        if not self._phase.is_open.is_set():
            await self._retried(self.subscriber.subscribe_only)
            self.subscribed.set()
            await self._phase.is_open.wait()
        await self.subscriber.run(self.subscribed, self._phase.confirmed)

    async def _read_to_its_end(self) -> None:
        """Unsubscribe from all filters that the session may have, and read what is queued."""
        filters = (*TOPIC_FILTERS, *shared_filters(self._group))
        self.subscriber = self._subscriber_of(
            MqttSession(self.session.client_id, filters, self._share)
        )
        _log.info("session_read_to_its_end", session=self.session.client_id)
        await self._retried(self._exhaust)

    async def _exhaust(self) -> None:
        async with asyncio.TaskGroup() as tasks:
            reading = tasks.create_task(self.subscriber.read_remaining(asyncio.Event()))
            while True:
                await asyncio.sleep(_POLL_S)
                if self.subscriber.is_exhausted():
                    break
            reading.cancel()

    async def _retried(self, act: Callable[[], Awaitable[None]]) -> None:
        """Repeat until it succeeds, while the session is this member's."""
        while True:
            try:
                await act()
            except* MqttError as errors:
                _log.warning(
                    "broker_lost", session=self.session.client_id, error=str(root_cause(errors))
                )
            else:
                return
            await asyncio.sleep(_RETRY_S)
            await self._phase.confirmed()
