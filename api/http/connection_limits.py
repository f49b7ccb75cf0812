"""Limits of a connection: the size of a request's head, and the time that a client may take.

uvicorn limits neither the size of a head nor the time that a client takes to send it, to end a body
that no request waits for, or to read a response. A client over a limit gets an error in the
envelope, and its connection is closed. `RequestLimitsMiddleware` limits the time of a request that
waits for its body, and `body_limits` the size of the body.
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

_MALFORMED = (Kind("ValidationError", 400), "malformed_request", "This is not an HTTP request.")
_HEAD_TOO_SLOW = (
    Kind("ValidationError", 408), "request_too_slow", "The headers took too long to arrive.",
)  # fmt: skip
_HEADERS = SECURITY_HEADERS | {"Content-Security-Policy": NO_CONTENT_POLICY}


@dataclass(frozen=True, slots=True)
class ConnectionLimits:
    """Limits of one connection.

    `head` is the request line and the headers, up to the empty line. Trailers of a body count too.
    """

    head_max_bytes: int = 64 * 1024
    headers_max: int = 100
    head_max_s: float = 10
    # Time to finish sending a body, or anything else, after the response refused it.
    ignored_max_s: float = 5
    # A client that does not read must read at least this much of a response in this time.
    read_min_bytes: int = 16 * 1024
    read_within_s: float = 15

    @property
    def head_too_large(self) -> tuple[Kind, str, str]:
        allowed = f"at most {self.headers_max} headers, {self.head_max_bytes // 1024} KiB in all"
        return Kind("ValidationError", 431), "headers_too_large", f"A request has {allowed}."


class _HeadTooLarge(Exception):
    """Ends the parsing of a request."""


class LimitedConnection(HttpToolsProtocol):
    """A connection that checks sizes as bytes arrive, and times in each `sweep`.

    It relies on attributes of uvicorn's `HttpToolsProtocol`: `parser`, `cycle`, `headers`, `flow`.
    """

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
        # Bytes of the head so far. While a head is being read, `_head_since` is the time of its
        # first byte, or of the connection's start.
        self._reads_head = True
        self._head_bytes = 0
        self._head_since: float | None = self.loop.time()
        # Start of the time in which received bytes are dropped.
        self._ignored_since: float | None = None
        # Time of the last check of a response that is not read, and the bytes unsent at that time.
        self._unread: tuple[float, int] | None = None
        # Set once: nothing is parsed after a refusal.
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
            # No upgrade is supported. The request is answered as a plain request.
            self.cycle.keep_alive = False
        except httptools.HttpParserError as error:
            too_large = isinstance(error.__context__, _HeadTooLarge)
            self._refuse(*(self._limits.head_too_large if too_large else _MALFORMED))
        else:
            # The parser reports a header only when it is complete, however long it grows.
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
        """Send an error and end the connection."""
        self._refused, self._ignored_since = True, self.loop.time()
        if self._is_responding():
            # The response to the previous request is being written. An error would end up in it.
            self.transport.close()
            return
        request_id = uuid4().hex
        with bound_contextvars(request_id=request_id):
            response = failure(kind, code, message, headers=_HEADERS | {"X-Request-ID": request_id})
        lines = [f"HTTP/1.1 {kind.status} {_PHRASES[kind.status]}".encode(), b"connection: close"]
        lines += [name + b": " + value for name, value in response.raw_headers]
        self.transport.write(b"\r\n".join([*lines, b"", bytes(response.body)]))
        # Only half-closed: a client that is still sending would lose the error to a reset.
        self.transport.write_eof()

    def sweep(self) -> None:
        """End the connection if its client takes too long. Called about once a second."""
        now, limits = self.loop.time(), self._limits
        drops_too_long = _lasts(self._dropping_since(now), limits.ignored_max_s, now)
        if self._is_not_reading(now) or drops_too_long:
            self.transport.abort()
        elif self.flow.read_paused or self._is_responding():
            # The time of a pipelined head starts after the response to the previous request.
            self._head_since = self._head_since and now
        elif not self._refused and _lasts(self._head_since, limits.head_max_s, now):
            if self._head_bytes:
                self._refuse(*_HEAD_TOO_SLOW)
            else:
                self.transport.close()

    def _is_responding(self) -> bool:
        return self.cycle is not None and not self.cycle.response_complete

    def _dropping_since(self, now: float) -> float | None:
        """Return the start of the time in which received bytes are dropped.

        They are dropped after a refusal, and after a response that did not wait for the body.
        """
        in_body = self.cycle is not None and self.cycle.response_complete and not self._reads_head
        if not (self._refused or in_body):
            self._ignored_since = None
        elif self._ignored_since is None:
            self._ignored_since = now
        return self._ignored_since

    def _is_not_reading(self, now: float) -> bool:
        """Return whether the client read less than the minimum of a response in the last period."""
        unsent = self.transport.get_write_buffer_size()
        if not unsent:
            self._unread = None
            return False
        since, before = self._unread or (now, unsent)
        if now - since < self._limits.read_within_s:
            self._unread = since, before
            return False
        self._unread = now, unsent
        return unsent > before - self._limits.read_min_bytes


_PHRASES = {400: "Bad Request", 408: "Request Timeout", 431: "Request Header Fields Too Large"}


def sweep(connections: Iterable[object]) -> None:
    """Close the connections whose clients take too long."""
    # A copy: an aborted connection removes itself from the set.
    for connection in list(connections):
        if isinstance(connection, LimitedConnection):
            connection.sweep()


def _lasts(since: float | None, max_s: float, now: float) -> bool:
    return since is not None and now - since >= max_s
