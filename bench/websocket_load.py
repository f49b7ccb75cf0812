"""Many raw WebSockets in one process, which reads as little of what it hears as it can.

    python -m bench.crowd SPEECH PORT CLIENTS TOKENS CHANNELS

SPEECH: `hub`, `socketio`, or `plain`, which says nothing. TOKENS: a file, an access token a line,
used in turns. CHANNELS: comma-separated, may be empty. Says `ready` when all are in, and then does
what stdin says, a line each: `burst MARKER EVENTS` waits until every socket has heard the marker,
which stands in the last of so many events; `purchases COUNT` waits for so many purchases, and says
how long each took from the time in its event. Both say `listening` when what happens from then on
counts, and answer with a line of JSON.
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
_AT_ONCE = 50
_READ_BYTES = 1 << 20
_TAIL_BYTES = 4096
_SAMPLED = 2
_PURCHASE = re.compile(rb'"type":"purchase.completed","time":"([^"]+)"')
# Text is ASCII: these bytes begin frames of their own. A pong too many does no harm.
_PINGS = {b"\x89\x04": b"\x8a\x80\0\0\0\0", b"\x81\x012": b"\x81\x81\0\0\0\x003"}
_PATHS = {"hub": "/ws", "plain": "/", "socketio": "/socket.io/?EIO=4&transport=websocket"}
_EVENT = {"hub": b'"position":"', "socketio": b'42["e"', "plain": b""}


def text(message: str) -> bytes:
    """A client's frame; masked with zeros, which change nothing."""
    payload = message.encode()
    if len(payload) < 126:
        return bytes([0x81, 0x80 | len(payload)]) + bytes(4) + payload
    return b"\x81\xfe" + len(payload).to_bytes(2, "big") + bytes(4) + payload


class WebSocketLoad:
    def __init__(self, speech: str, port: int, tokens: Sequence[str], channels: Sequence[str]):
        self._speech = speech
        self._port = port
        self._channels = channels
        self._tokens = cycle(tokens)
        self._selector = selectors.DefaultSelector()

    def enter(self, clients: int) -> None:
        """Some at a time: the door is as wide as its backlog."""
        for first in range(0, clients, _AT_ONCE):
            self._enter_at_once(min(_AT_ONCE, clients - first))

    def _enter_at_once(self, clients: int) -> None:
        sockets = [socket.create_connection(("127.0.0.1", self._port)) for _ in range(clients)]
        for sock in sockets:
            sock.settimeout(WITHIN_S)
            sock.sendall(self._handshake())
        for sock in sockets:
            early = _read_until(sock, b"\r\n\r\n", times=1)
            if self._speech == "socketio" and b"0{" not in early:
                _read_until(sock, b"0{", times=1)
        for sock in sockets:
            sock.sendall(b"".join(map(text, self._introduction())))
        for sock in sockets:
            self._await_welcome(sock)
            sock.setblocking(False)
            self._selector.register(sock, selectors.EVENT_READ, bytearray())

    def _handshake(self) -> bytes:
        key = b64encode(urandom(16)).decode()
        return (
            f"GET {_PATHS[self._speech]} HTTP/1.1\r\nHost: x\r\nUpgrade: websocket\r\n"
            f"Connection: Upgrade\r\nSec-WebSocket-Key: {key}\r\nSec-WebSocket-Version: 13\r\n\r\n"
        ).encode()

    def _introduction(self) -> Iterator[str]:
        if self._speech == "socketio":
            yield "40"
        elif self._speech == "hub":
            yield json.dumps({"op": "auth", "token": next(self._tokens)})
            for channel in self._channels:
                yield json.dumps({"op": "subscribe", "channel": channel})

    def _await_welcome(self, sock: socket.socket) -> None:
        if self._speech == "socketio":
            _read_until(sock, b"40", times=1)
        elif self._speech == "hub":
            _read_until(sock, b'"ready"' if not self._channels else b'"subscribed"',
                        times=max(1, len(self._channels)))  # fmt: skip

    def attend(self) -> None:
        """Do what stdin says, and stay connected meanwhile."""
        self._selector.register(sys.stdin, selectors.EVENT_READ)
        while True:
            for key, _ in self._selector.select():
                if key.data is not None:
                    self._hear(key)
                elif not self._obey(sys.stdin.readline().split()):
                    return

    def _obey(self, words: list[str]) -> bool:
        answer: object
        match words:
            case ["burst", marker, events]:
                _say("listening")
                answer = self._burst(marker.encode(), int(events))
            case ["purchases", count]:
                _say("listening")
                answer = self._purchases(int(count))
            case _:
                return False
        _say(json.dumps(answer))
        return True

    def _burst(self, marker: bytes, events: int) -> dict[str, float]:
        """When the last of them heard the marker. Some are held to have heard every event."""
        waiting = {k.fd: k for k in self._selector.get_map().values() if k.data is not None}
        sampled = {fd: bytearray() for fd in islice(waiting, _SAMPLED)}
        for key in waiting.values():
            key.data.clear()
        deadline = time.monotonic() + WITHIN_S
        while waiting and time.monotonic() < deadline:
            for key, _ in self._selector.select(1):
                if key.data is None:
                    continue
                data = self._hear(key)
                if key.fd in sampled:
                    sampled[key.fd] += data
                tail: bytearray = key.data
                tail += data[-_TAIL_BYTES:]
                if marker in tail:
                    waiting.pop(key.fd, None)
                del tail[:-_TAIL_BYTES]
        last_at = time.time()
        heard = [said.count(_EVENT[self._speech]) for said in sampled.values()]
        complete = not waiting and heard == [events] * len(sampled)
        return {"last_at": last_at, "complete": complete, "waiting": len(waiting)}

    def _purchases(self, count: int) -> dict[str, list[float]]:
        took_ms: list[float] = []
        deadline = time.monotonic() + WITHIN_S
        while len(took_ms) < count and time.monotonic() < deadline:
            for key, _ in self._selector.select(1):
                if key.data is None:
                    continue
                # A frame seldom comes in two parts; what is cut off would be missed in the count.
                for at in _PURCHASE.findall(self._hear(key)):
                    told_at = datetime.fromisoformat(at.decode()).timestamp()
                    took_ms.append(1000 * (time.time() - told_at))
        return {"took_ms": sorted(took_ms)}

    def _hear(self, key: selectors.SelectorKey) -> bytes:
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


def _say(line: str) -> None:
    sys.stdout.write(line + "\n")
    sys.stdout.flush()


def _read_until(sock: socket.socket, mark: bytes, *, times: int) -> bytes:
    read = b""
    while read.count(mark) < times:
        data = sock.recv(4096)
        if not data:
            raise SystemExit(f"a socket was closed after {read[-200:]!r}")
        read += data
    return read


if __name__ == "__main__":
    raise_open_files_limit()
    speech, port, clients, tokens, channels = sys.argv[1:]
    crowd = WebSocketLoad(
        speech, int(port), Path(tokens).read_text().split(), [c for c in channels.split(",") if c]
    )
    crowd.enter(int(clients))
    _say("ready")
    crowd.attend()
