"""Many plain WebSockets in one process that parses as little of what it receives as possible.

    python -m bench.websocket_load PROTOCOL PORT CLIENTS TOKENS CHANNELS

PROTOCOL is `hub`, `socketio`, or `plain`, which sends nothing. TOKENS is a file with one access
token per line; sockets use them in turn. CHANNELS is a comma-separated list and may be empty.

The process prints `ready` when all sockets are connected and subscribed. Then it executes commands
from stdin, one per line:

- `burst MARKER EVENTS` waits until every socket has received the marker, which the last event
  contains.
- `purchases COUNT` waits for so many purchases and measures the time since each event's time.

For each command it prints `waiting` when events count from now on, and then a line of JSON.
"""

import json
import re
import selectors
import socket
import sys
import time
from base64 import b64encode
from collections.abc import Iterator, Sequence
from datetime import datetime
from itertools import cycle, islice
from os import urandom
from pathlib import Path

from bench.machine import raise_open_files_limit

WITHIN_S = 60.0
# Connections opened at once: at most the backlog of the server's socket.
_AT_ONCE = 50
_READ_BYTES = 1 << 20
# The marker is searched in this much of the end of what a socket has received.
_TAIL_BYTES = 4096
# Sockets on which every event is counted; the others are only searched for the marker.
_SAMPLED = 2
_PURCHASE = re.compile(rb'"type":"purchase.completed","time":"([^"]+)"')
# Ping frames of WebSocket and of Socket.IO, and the replies. Event texts are ASCII, so these bytes
# can only be frame headers. A superfluous pong does no harm.
_PINGS = {b"\x89\x04": b"\x8a\x80\0\0\0\0", b"\x81\x012": b"\x81\x81\0\0\0\x003"}
_PATHS = {"hub": "/ws", "plain": "/", "socketio": "/socket.io/?EIO=4&transport=websocket"}
# Bytes that occur once in each event.
_EVENT = {"hub": b'"position":"', "socketio": b'42["e"', "plain": b""}


def text_frame(message: str) -> bytes:
    """Encode a client's text frame, masked with zeros, which leave the payload unchanged."""
    payload = message.encode()
    if len(payload) < 126:
        return bytes([0x81, 0x80 | len(payload)]) + bytes(4) + payload
    return b"\x81\xfe" + len(payload).to_bytes(2, "big") + bytes(4) + payload


class WebSocketLoad:
    """All sockets of this process, read by one selector."""

    def __init__(self, protocol: str, port: int, tokens: Sequence[str], channels: Sequence[str]):
        self._protocol = protocol
        self._port = port
        self._channels = channels
        self._tokens = cycle(tokens)
        self._selector = selectors.DefaultSelector()

    def connect(self, clients: int) -> None:
        for first in range(0, clients, _AT_ONCE):
            self._connect_at_once(min(_AT_ONCE, clients - first))

    def _connect_at_once(self, clients: int) -> None:
        sockets = [socket.create_connection(("127.0.0.1", self._port)) for _ in range(clients)]
        for sock in sockets:
            sock.settimeout(WITHIN_S)
            sock.sendall(self._handshake())
        for sock in sockets:
            early = _read_until(sock, b"\r\n\r\n", times=1)
            if self._protocol == "socketio" and b"0{" not in early:
                _read_until(sock, b"0{", times=1)
        for sock in sockets:
            sock.sendall(b"".join(map(text_frame, self._requests())))
        for sock in sockets:
            self._await_subscribed(sock)
            sock.setblocking(False)
            self._selector.register(sock, selectors.EVENT_READ, bytearray())

    def _handshake(self) -> bytes:
        key = b64encode(urandom(16)).decode()
        return (
            f"GET {_PATHS[self._protocol]} HTTP/1.1\r\nHost: x\r\nUpgrade: websocket\r\n"
            f"Connection: Upgrade\r\nSec-WebSocket-Key: {key}\r\nSec-WebSocket-Version: 13\r\n\r\n"
        ).encode()

    def _requests(self) -> Iterator[str]:
        """Yield the messages that sign a socket in and subscribe it."""
        if self._protocol == "socketio":
            yield "40"
        elif self._protocol == "hub":
            yield json.dumps({"op": "auth", "token": next(self._tokens)})
            for channel in self._channels:
                yield json.dumps({"op": "subscribe", "channel": channel})

    def _await_subscribed(self, sock: socket.socket) -> None:
        if self._protocol == "socketio":
            _read_until(sock, b"40", times=1)
        elif self._protocol == "hub":
            _read_until(sock, b'"ready"' if not self._channels else b'"subscribed"',
                        times=max(1, len(self._channels)))  # fmt: skip

    def serve(self) -> None:
        """Execute commands from stdin, and read all sockets meanwhile."""
        self._selector.register(sys.stdin, selectors.EVENT_READ)
        while True:
            for key, _ in self._selector.select():
                if key.data is not None:
                    self._read(key)
                elif not self._execute(sys.stdin.readline().split()):
                    return

    def _execute(self, words: list[str]) -> bool:
        """Execute a command. Return False for an unknown one, such as the end of stdin."""
        result: object
        match words:
            case ["burst", marker, events]:
                _write_line("waiting")
                result = self._burst(marker.encode(), int(events))
            case ["purchases", count]:
                _write_line("waiting")
                result = self._purchases(int(count))
            case _:
                return False
        _write_line(json.dumps(result))
        return True

    def _burst(self, marker: bytes, events: int) -> dict[str, float]:
        """Return when the last socket received the marker, and whether all events arrived."""
        waiting = {k.fd: k for k in self._selector.get_map().values() if k.data is not None}
        sampled = {fd: bytearray() for fd in islice(waiting, _SAMPLED)}
        for key in waiting.values():
            key.data.clear()
        deadline = time.monotonic() + WITHIN_S
        while waiting and time.monotonic() < deadline:
            for key, _ in self._selector.select(1):
                if key.data is None:
                    continue
                data = self._read(key)
                if key.fd in sampled:
                    sampled[key.fd] += data
                tail: bytearray = key.data
                tail += data[-_TAIL_BYTES:]
                if marker in tail:
                    waiting.pop(key.fd, None)
                del tail[:-_TAIL_BYTES]
        last_at = time.time()
        counts = [received.count(_EVENT[self._protocol]) for received in sampled.values()]
        complete = not waiting and counts == [events] * len(sampled)
        return {"last_at": last_at, "complete": complete, "waiting": len(waiting)}

    def _purchases(self, count: int) -> dict[str, list[float]]:
        """Return the milliseconds from the time of each purchase's event until now, sorted."""
        took_ms: list[float] = []
        deadline = time.monotonic() + WITHIN_S
        while len(took_ms) < count and time.monotonic() < deadline:
            for key, _ in self._selector.select(1):
                if key.data is None:
                    continue
                # An event that is split between two reads is not counted; the case fails then.
                for at in _PURCHASE.findall(self._read(key)):
                    event_at = datetime.fromisoformat(at.decode()).timestamp()
                    took_ms.append(1000 * (time.time() - event_at))
        return {"took_ms": sorted(took_ms)}

    def _read(self, key: selectors.SelectorKey) -> bytes:
        assert isinstance(key.fileobj, socket.socket)
        try:
            data = key.fileobj.recv(_READ_BYTES)
        except BlockingIOError:
            return b""
        if not data:
            raise SystemExit("a socket was closed")
        for ping, pong in _PINGS.items():
            if (at := data.find(ping)) >= 0:
                key.fileobj.send(pong.replace(b"\x8a\x80", b"\x8a\x84") + data[at + 2 : at + 6]
                                 if ping[0] == 0x89 else pong)  # fmt: skip
        return data


def _write_line(line: str) -> None:
    sys.stdout.write(line + "\n")
    sys.stdout.flush()


def _read_until(sock: socket.socket, mark: bytes, *, times: int) -> bytes:
    received = b""
    while received.count(mark) < times:
        data = sock.recv(4096)
        if not data:
            raise SystemExit(f"a socket was closed after {received[-200:]!r}")
        received += data
    return received


if __name__ == "__main__":
    raise_open_files_limit()
    protocol, port, clients, tokens, channels = sys.argv[1:]
    load = WebSocketLoad(
        protocol, int(port), Path(tokens).read_text().split(), [c for c in channels.split(",") if c]
    )
    load.connect(int(clients))
    _write_line("ready")
    load.serve()
