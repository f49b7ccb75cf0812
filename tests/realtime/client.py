"""A client of the feed that shows every frame, written with the websockets library alone."""

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID

from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConnectionClosed

from core import tokens

SECRET = "a secret of the tests, and of no one else"
WITHIN_S = 10.0

# Somebody who is signed up, for tests that don't mind who (`conftest.parts` sees to that).
ANYBODY = UUID("a11b0d1e-0000-4000-8000-000000000000")


def token(user_id: UUID | None = None, *, ttl_s: float = 900, role: str = "buyer") -> str:
    now = datetime.now(UTC)
    return tokens.sign(
        SECRET, user_id=user_id or ANYBODY, email="asha@example.org", role=role, now=now,
        ttl=timedelta(seconds=ttl_s),
    )  # fmt: skip


class Client:
    def __init__(self, connection: ClientConnection) -> None:
        self.connection = connection
        self._events: list[dict[str, Any]] = []

    async def say(self, **frame: Any) -> None:
        await self.connection.send(json.dumps(frame))

    async def hear(self) -> dict[str, Any]:
        """The next frame, whatever it is."""
        async with asyncio.timeout(WITHIN_S):
            frame: dict[str, Any] = json.loads(await self.connection.recv())
            return frame

    async def hear_op(self, op: str) -> dict[str, Any]:
        """The next frame of a kind; events that come before it are kept."""
        while (frame := await self.hear())["op"] != op:
            assert frame["op"] == "events", frame
            self._events += frame["events"]
        return frame

    async def sign_in(
        self, user_id: UUID | None = None, *, ttl_s: float = 900, role: str = "buyer"
    ) -> dict[str, Any]:
        await self.say(op="auth", token=token(user_id, ttl_s=ttl_s, role=role))
        return await self.hear_op("ready")

    async def subscribe(self, channel: str, **more: Any) -> dict[str, Any]:
        await self.say(op="subscribe", channel=channel, **more)
        return await self.hear_op("subscribed")

    async def event(self) -> dict[str, Any]:
        """The next event, in whatever frame it comes."""
        while not self._events:
            self._events += (await self.hear_op("events"))["events"]
        return self._events.pop(0)

    async def events(self, count: int) -> list[dict[str, Any]]:
        return [await self.event() for _ in range(count)]

    async def quiet(self) -> bool:
        """Return True if every event that was sent has been received."""
        await self.say(op="ping")
        await self.hear_op("pong")
        return not self._events

    async def close_code(self) -> int | None:
        """Return the code with which the hub closes it; skip the frames before that."""
        async with asyncio.timeout(WITHIN_S):
            try:
                while True:
                    await self.connection.recv()
            except ConnectionClosed as closed:
                return closed.rcvd.code if closed.rcvd else None


@asynccontextmanager
async def open_client(
    url: str, user_id: UUID | None = None, *, sign_in: bool = True
) -> AsyncIterator[Client]:
    async with connect(url, compression=None, proxy=None) as connection:
        client = Client(connection)
        if sign_in:
            await client.sign_in(user_id)
        yield client
