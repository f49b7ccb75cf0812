"""Connections of the websockets library, adapted for sessions.

A frame for many clients is encoded once: without compression, and without a mask as a server sends
it, its bytes are the same for all. They go to the transport directly. `websockets.broadcast` does
the same, but encodes the message again for each connection.
"""

from typing import Any

import structlog
from websockets.asyncio.server import Server, ServerConnection
from websockets.exceptions import ConnectionClosed, InvalidHandshake
from websockets.frames import CloseCode as Standard
from websockets.frames import Frame, Opcode
from websockets.protocol import State
from websockets.server import ServerProtocol

from realtime.protocol import REQUEST_BYTES_MAX, CloseCode

# Time for a slow client to read what was written and the reason of the close.
_SLOW_CLOSE_TIMEOUT_S = 15.0

_log = structlog.get_logger()


def text_frame(message: bytes) -> bytes:
    """Return a text message encoded as an unmasked frame."""
    return Frame(Opcode.TEXT, message).serialize(mask=False)


class _Protocol(ServerProtocol):
    """Closes with `BAD_FRAME` if a frame is too long or not UTF-8."""

    def fail(self, code: int, reason: str = "") -> None:
        if code in (Standard.MESSAGE_TOO_BIG, Standard.INVALID_DATA):
            code = CloseCode.BAD_FRAME
        super().fail(code, reason)


class FeedConnection(ServerConnection):
    """A connection with `_Protocol`; made by `websockets.serve`."""

    def __init__(self, protocol: ServerProtocol, server: Server, **options: Any) -> None:
        super().__init__(_Protocol(max_size=REQUEST_BYTES_MAX), server, **options)

    async def handshake(self, *options: Any) -> None:
        """Log a client that disconnects or sends no HTTP as information, not as an error."""
        try:
            await super().handshake(*options)
        except (InvalidHandshake, ConnectionClosed, OSError) as error:
            _log.info("handshake_failed", error=str(error))


class WebSocket:
    """The `Socket` of a session."""

    def __init__(self, connection: ServerConnection) -> None:
        self._connection = connection

    async def receive(self) -> str | bytes:
        return await self._connection.recv()

    async def send(self, message: str | bytes) -> None:
        await self._connection.send(message, text=True)

    def buffered_bytes(self) -> int:
        return self._connection.transport.get_write_buffer_size()

    def write(self, frame: bytes) -> None:
        if self._connection.state is State.OPEN:
            self._connection.transport.write(frame)

    async def close(self, code: CloseCode, reason: str) -> None:
        if code is CloseCode.SLOW:
            self._connection.close_timeout = _SLOW_CLOSE_TIMEOUT_S
        await self._connection.close(code, reason)
