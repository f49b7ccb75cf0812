"""The other end of an MQTT connection: a broker that follows a script, and a proxy that listens."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field

from ingest.broker import BrokerEndpoint
from ingest.mqtt.codec import CONNECT, DISCONNECT, PUBACK, PacketStream
from tests.support.raw_mqtt import packet

ACCEPTED = packet(0x20, b"\x00\x00")
_PACKET_MAX_BYTES = 1_000_000


@dataclass
class Peer:
    """`packets` are those that the client has sent."""

    endpoint: BrokerEndpoint
    packets: list[bytes] = field(default_factory=list)
    connections_open: int = 0

    def sent(self, header: int) -> list[bytes]:
        """Return the client's packets that begin with this byte."""
        return [one for one in self.packets if one[0] == header]

    def acknowledged(self) -> list[int]:
        """Return the packet ids of the client's PUBACKs."""
        return [int.from_bytes(one[2:]) for one in self.sent(PUBACK)]


@asynccontextmanager
async def scripted_broker(
    reply: Callable[[bytes], bytes | None] = lambda packet: (
        ACCEPTED if packet[0] == CONNECT else b""
    ),
    *,
    closes: bool = True,
) -> AsyncIterator[Peer]:
    """Run a broker that answers each packet with `reply`; None closes the connection.

    `closes`: DISCONNECT does so, too.
    """

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        stream = PacketStream(_PACKET_MAX_BYTES)
        while data := await reader.read(65_536):
            for one in stream.feed(data):
                peer.packets.append(one)
                answer = reply(one)
                if answer is None or (closes and one[0] == DISCONNECT):
                    return
                writer.write(answer)

    async with _served(serve) as peer:
        yield peer


@asynccontextmanager
async def tapped(port: int) -> AsyncIterator[Peer]:
    """Run a proxy to the broker at this port, which notes what the client sends."""

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        stream = PacketStream(_PACKET_MAX_BYTES)
        answers, requests = await asyncio.open_connection("127.0.0.1", port)
        try:
            async with asyncio.TaskGroup() as tasks:
                tasks.create_task(_forward(answers, writer, lambda data: None))
                tasks.create_task(
                    _forward(reader, requests, lambda data: peer.packets.extend(stream.feed(data)))
                )
        finally:
            requests.close()

    async with _served(serve) as peer:
        yield peer


@asynccontextmanager
async def _served(
    serve: Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]],
) -> AsyncIterator[Peer]:
    tasks: set[asyncio.Task[None]] = set()

    async def on_connection(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        tasks.add(task)
        peer.connections_open += 1
        try:
            # A task that ends cancelled is an error to asyncio.start_server.
            with suppress(ConnectionError, asyncio.CancelledError):
                await serve(reader, writer)
        finally:
            peer.connections_open -= 1
            writer.close()

    server = await asyncio.start_server(on_connection, "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    peer = Peer(BrokerEndpoint("127.0.0.1", port, None, None, None))
    try:
        yield peer
    finally:
        server.close()
        for task in tasks:
            task.cancel()
        if tasks:
            await asyncio.wait(tasks)


async def _forward(
    reader: asyncio.StreamReader, writer: asyncio.StreamWriter, note: Callable[[bytes], None]
) -> None:
    while data := await reader.read(65_536):
        note(data)
        writer.write(data)
        await writer.drain()
    writer.close()
