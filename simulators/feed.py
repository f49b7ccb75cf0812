"""The reference client of the live feed: reconnects, renews its token, loses no event."""

import asyncio
import json
from collections.abc import AsyncGenerator, Awaitable, Callable, Iterable
from contextlib import aclosing
from random import Random
from typing import Any

import structlog
from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConnectionClosed, InvalidHandshake

from core.feed import FeedEvent, FeedPositions, Reload, Subscription
from core.retry import Backoff

# Close code for a frame that the hub does not accept.
_BAD_FRAME = 4400
_OPEN_WITHIN_S = 10.0
_RETRY_FIRST_S = 0.2
_RETRY_MAX_S = 10.0

_log = structlog.get_logger()


class FeedRefused(Exception):
    """The hub refused a request; repeating it would not help."""


class FeedClient:
    """A client with fixed subscriptions.

    `token` returns a valid access token; it is called whenever the hub asks for one.
    `retry_max_s` bounds the mean pause before a reconnection.
    """

    def __init__(
        self,
        url: str,
        subscriptions: Iterable[Subscription],
        *,
        token: Callable[[], Awaitable[str]],
        rng: Random,
        retry_max_s: float = _RETRY_MAX_S,
    ) -> None:
        self._url = url
        self._positions = FeedPositions(subscriptions)
        self._token = token
        self._rng = rng
        self._retry_max_s = retry_max_s

    async def events(self) -> AsyncGenerator[FeedEvent | Reload, None]:
        """Yield every event from the first connection on, until closed. Raises FeedRefused.

        A `Reload` precedes any event of a channel: load the channel's state over REST before you
        take the next event, and ignore events older than that state. Close the generator
        (`contextlib.aclosing`) to close the connection.
        """
        loop = asyncio.get_running_loop()
        # Jitter: after a restart of the hub, all clients reconnect.
        backoff = Backoff(
            _RETRY_FIRST_S, self._retry_max_s, jitter=lambda: self._rng.uniform(0.5, 1.5)
        )
        while True:
            began_s = loop.time()
            try:
                async with aclosing(self._connected()) as events:
                    async for event in events:
                        yield event
            except (ConnectionClosed, InvalidHandshake, OSError, TimeoutError) as error:
                if isinstance(error, ConnectionClosed) and _code(error) == _BAD_FRAME:
                    raise FeedRefused(str(error)) from error
                _log.info("feed_connection_lost", error=str(error), retry_in_s=backoff.delay_s)
            if loop.time() - began_s > self._retry_max_s:
                backoff.reset()
            await asyncio.sleep(backoff.next_s())

    async def _connected(self) -> AsyncGenerator[FeedEvent | Reload, None]:
        """Yield the events of one connection until it closes."""
        async with connect(
            self._url, compression=None, open_timeout=_OPEN_WITHIN_S, proxy=None
        ) as connection:
            await self._sign_in(connection)
            for request in self._positions.requests():
                await _send(connection, request)
            async for message in connection:
                frame = json.loads(message)
                if frame["op"] == "token_expiring":
                    await self._sign_in(connection)
                elif frame["op"] == "error":
                    raise FeedRefused(f"{frame['code']}: {frame['message']}")
                for event in self._positions.take(frame):
                    yield event

    async def _sign_in(self, connection: ClientConnection) -> None:
        await _send(connection, {"op": "auth", "token": await self._token()})


async def _send(connection: ClientConnection, frame: dict[str, Any]) -> None:
    await connection.send(json.dumps(frame))


def _code(closed: ConnectionClosed) -> int | None:
    return closed.rcvd.code if closed.rcvd else None
