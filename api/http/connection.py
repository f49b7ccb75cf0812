"""A connection of a client: what it may send before a request begins, and how long it may take.

The server that we use bounds neither the size of a request's head nor the time that a client takes
to send it, to end a body that nobody waits for, or to read an answer. Whoever is too slow or sends
too much is told so, in the envelope, and the connection ends. How long a body takes that is waited
for is bounded by `RequestLimits`.
"""

import asyncio
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any
from uuid import uuid4

import httptools
from structlog.contextvars import bound_contextvars
from uvicorn.config import Config
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol
from uvicorn.server import ServerState

from api.http.envelope import Kind, failure
from api.http.middleware import NO_CONTENT_POLICY, SECURITY_HEADERS

_MALFORMED = (Kind("ValidationError", 400), "malformed_request", "This is no HTTP request.")
_HEAD_TOO_SLOW = (
    Kind("ValidationError", 408), "request_too_slow", "The headers took too long to arrive.",
)  # fmt: skip
_HEADERS = SECURITY_HEADERS | {"Content-Security-Policy": NO_CONTENT_POLICY}


@dataclass(frozen=True, slots=True)
class ConnectionLimits:
    """`head`: the request line and the headers, up to the empty line; also what trails a body."""

    head_max_bytes: int = 64 * 1024
    headers_max: int = 100
    head_max_s: float = 10
    # For what is left of a body that was refused, and for what a client sends that was refused.
    ignored_max_s: float = 5
    # An answer that is not read: so much of it in so many seconds.
    read_min_bytes: int = 16 * 1024
    read_within_s: float = 15

    @property
    def head_too_large(self) -> tuple[Kind, str, str]:
        told = f"at most {self.headers_max} headers, {self.head_max_bytes // 1024} KiB in all"
        return Kind("ValidationError", 431), "headers_too_large", f"A request has {told}."


class _HeadTooLarge(Exception):
    """Ends the parsing of a request."""


class Connection(HttpToolsProtocol):
    """Looks at what is too much as it arrives, and at what is too slow with each `sweep`."""

    def __init__(
        self,
        config: Config,
        server_state: ServerState,
        app_state: dict[str, Any],
        _loop: asyncio.AbstractEventLoop | None = None,
        *,
        limits: ConnectionLimits,
    ) -> None:
        super().__init__(config, server_state, app_state, _loop)
        self._limits = limits
        self._reads_head = True
        self._head_bytes = 0
        # Since when something lasts that may not last for long; None: it does not.
        self._head_since: float | None = self.loop.time()
        self._ignored_since: float | None = None
        self._unread: tuple[float, int] | None = None  # since when, how many bytes
        self._refused = False

    def data_received(self, data: bytes) -> None:
        self._unset_keepalive_if_required()
        if self._refused:
            return
        if self._reads_head:
            self._head_bytes += len(data)
            if self._head_since is None:
                self._head_since = self.loop.time()
        try:
            self.parser.feed_data(data)
        except httptools.HttpParserUpgrade:
            # To nothing that we speak: it is answered as what it is besides.
            self.cycle.keep_alive = False
        except httptools.HttpParserError as error:
            too_large = isinstance(error.__context__, _HeadTooLarge)
            self._refuse(*(self._limits.head_too_large if too_large else _MALFORMED))
        else:
            # A name or value that does not end is nothing that the parser would tell us of.
            unfinished = self._reads_head and self._head_bytes > self._limits.head_max_bytes
            if unfinished or (self.headers and len(self.headers) > self._limits.headers_max):
                self._refuse(*self._limits.head_too_large)

    def on_headers_complete(self) -> None:
        limits = self._limits
        if len(self.headers) > limits.headers_max or (
            self._head_bytes > limits.head_max_bytes
            and self._parsed_bytes() > limits.head_max_bytes
        ):
            raise _HeadTooLarge
        self._reads_head, self._head_since = False, None
        super().on_headers_complete()

    def on_message_complete(self) -> None:
        super().on_message_complete()
        self._reads_head, self._head_bytes = True, 0

    def _parsed_bytes(self) -> int:
        return len(self.url) + sum(len(name) + len(value) for name, value in self.headers)

    def _refuse(self, kind: Kind, code: str, message: str) -> None:
        """Answer what is no request, or not to be waited for. Nothing follows on the connection."""
        self._refused, self._ignored_since = True, self.loop.time()
        if self._answers():
            # What came before it is still being answered: ours would come in between.
            self.transport.close()
            return
        request_id = uuid4().hex
        with bound_contextvars(request_id=request_id):
            answer = failure(kind, code, message, headers=_HEADERS | {"X-Request-ID": request_id})
        lines = [f"HTTP/1.1 {kind.status} {_PHRASES[kind.status]}".encode(), b"connection: close"]
        lines += [name + b": " + value for name, value in answer.raw_headers]
        self.transport.write(b"\r\n".join([*lines, b"", bytes(answer.body)]))
        # A client that still sends would not see the answer if we hung up at once.
        self.transport.write_eof()

    def sweep(self) -> None:
        """End what takes too long. Called about once a second."""
        now, limits = self.loop.time(), self._limits
        if self._is_not_read(now) or _lasts(self._ignores_since(now), limits.ignored_max_s, now):
            self.transport.abort()
        elif self.flow.read_paused or self._answers():
            # A request that follows before the answer to the one before it has all the time.
            self._head_since = self._head_since and now
        elif not self._refused and _lasts(self._head_since, limits.head_max_s, now):
            if self._head_bytes:
                self._refuse(*_HEAD_TOO_SLOW)
            else:
                self.transport.close()

    def _answers(self) -> bool:
        """Whether a request is in hand."""
        return self.cycle is not None and not self.cycle.response_complete

    def _ignores_since(self, now: float) -> float | None:
        """Since when we throw away what comes: it was refused, or answered without it."""
        in_body = self.cycle is not None and self.cycle.response_complete and not self._reads_head
        if not (self._refused or in_body):
            self._ignored_since = None
        elif self._ignored_since is None:
            self._ignored_since = now
        return self._ignored_since

    def _is_not_read(self, now: float) -> bool:
        """Whether a client leaves its answers unread, or reads them so slowly that it might."""
        left = self.transport.get_write_buffer_size()
        if not left:
            self._unread = None
            return False
        since, before = self._unread or (now, left)
        if now - since < self._limits.read_within_s:
            self._unread = since, before
            return False
        self._unread = now, left
        return left > before - self._limits.read_min_bytes


_PHRASES = {400: "Bad Request", 408: "Request Timeout", 431: "Request Header Fields Too Large"}


def sweep(connections: Iterable[object]) -> None:
    """End what takes too long on any of them."""
    for connection in list(connections):
        if isinstance(connection, Connection):
            connection.sweep()


def _lasts(since: float | None, max_s: float, now: float) -> bool:
    return since is not None and now - since >= max_s
