"""The connections of the websockets library, as sessions need them.

A frame that many clients get is encoded once: without compression and, from a server, without a
mask, its bytes are the same for all. They go to the transport as they are, which is what
`websockets.broadcast` does after it has encoded the message again for each connection.
"""

from typing import Any

import structlog
from websockets.asyncio.server import Server, ServerConnection
from websockets.exceptions import ConnectionClosed, InvalidHandshake
from websockets.frames import CloseCode as Standard
from websockets.frames import Frame, Opcode
from websockets.protocol import State
from websockets.server import ServerProtocol

from realtime.closing import CloseCode
from realtime.frames import REQUEST_BYTES_MAX

# A slow client has this long to read what is on its way and to learn why it is closed.
_SLOW_CLOSE_TIMEOUT_S = 15.0

_log = structlog.get_logger()


def text_frame(message: bytes) -> bytes:
    """A message as it stands on the wire."""
    return Frame(Opcode.TEXT, message).serialize(mask=False)


class _Protocol(ServerProtocol):
    """What a frame fails by, too long or not UTF-8, is a bad frame."""

    def fail(self, code: int, reason: str = "") -> None:
        if code in (Standard.MESSAGE_TOO_BIG, Standard.INVALID_DATA):
            code = CloseCode.BAD_FRAME
        super().fail(code, reason)


class FeedConnection(ServerConnection):
    """A connection whose protocol is ours; made by `websockets.serve`."""

    def __init__(self, protocol: ServerProtocol, server: Server, **options: Any) -> None:
        super().__init__(_Protocol(max_size=REQUEST_BYTES_MAX), server, **options)

    async def handshake(self, *options: Any) -> None:
        """Who hangs up or speaks no HTTP is no fault of ours, and is not logged as one."""
        try:
            await super().handshake(*options)
        except (InvalidHandshake, ConnectionClosed, OSError) as error:
            _log.info("handshake_failed", error=str(error))


class WebSocket:
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
