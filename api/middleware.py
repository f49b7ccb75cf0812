"""What surrounds every request, as plain ASGI: per-request cost is the point.

`Frame` is outermost, `Guard` innermost; CORS, where it is on, between them.
"""

import asyncio
from time import perf_counter
from typing import NoReturn
from uuid import uuid4

import structlog
from starlette.datastructures import Headers, MutableHeaders
from starlette.exceptions import HTTPException
from starlette.middleware.cors import CORSMiddleware
from starlette.responses import Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send
from structlog.contextvars import bind_contextvars

from api import errors
from api.envelope import Kind, failure
from api.metrics import ApiMetrics
from api.pages import is_page

BODY_MAX_BYTES = 1024 * 1024
# Of all requests that are under way in this process.
BODIES_MAX_BYTES = 64 * BODY_MAX_BYTES
REQUEST_TIMEOUT_S = 15
# What is known to take longer.
_PATIENCE_S = {"/api/v1/admin/audit": 600}
_DRAIN_MAX_BYTES = 16 * BODY_MAX_BYTES

# As Helmet sets them.
_SECURITY = {
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Origin-Agent-Cluster": "?1",
    "Referrer-Policy": "no-referrer",
    "X-Content-Type-Options": "nosniff",
    "X-DNS-Prefetch-Control": "off",
    "X-Download-Options": "noopen",
    "X-Frame-Options": "SAMEORIGIN",
    "X-Permitted-Cross-Domain-Policies": "none",
    "X-XSS-Protection": "0",
}
_NO_CONTENT_POLICY = "default-src 'none'; frame-ancestors 'none'"
_NO_CORS = Kind("AuthorizationError", 400)
_HSTS = "max-age=31536000; includeSubDomains"

_log = structlog.get_logger()


class Frame:
    """A request's id, its headers, its line in the log and in the metrics."""

    def __init__(
        self, app: ASGIApp, *, metrics: ApiMetrics, behind_tls: bool, page_policy: str
    ) -> None:
        self._app = app
        self._metrics = metrics
        hsts = {"Strict-Transport-Security": _HSTS} if behind_tls else {}
        self._headers = _raw(_SECURITY | hsts | {"Content-Security-Policy": _NO_CONTENT_POLICY})
        # Asked for anew at each visit: what changed is on the page at once.
        page = {"Content-Security-Policy": page_policy, "Cache-Control": "no-cache"}
        self._page_headers = _raw(_SECURITY | hsts | page)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        began, status = perf_counter(), 500
        request_id = uuid4().hex
        headers = self._headers_for(scope["path"], request_id)

        async def send_framed(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
                message = {**message, "headers": [*message["headers"], *headers]}
            await send(message)

        # For this request alone: the server answers each in a task, and so in a context of its own.
        bind_contextvars(request_id=request_id)
        try:
            await self._app(scope, receive, send_framed)
        finally:
            self._note(scope, status, perf_counter() - began)

    def _headers_for(self, path: str, request_id: str) -> list[tuple[bytes, bytes]]:
        own = [(b"x-request-id", request_id.encode())]
        if is_page(path):
            return self._page_headers + own
        if path.startswith("/api/"):
            own.append((b"cache-control", b"no-store"))
        return self._headers + own

    def _note(self, scope: Scope, status: int, duration_s: float) -> None:
        # The template, not the path: there are as many paths as there are ids.
        route = getattr(scope.get("route"), "path", "none")
        method = scope["method"] if route != "none" else "any"
        self._metrics.answered(method, route, status, duration_s)
        _log.info(
            "request", method=scope["method"], path=scope["path"], status=status,
            duration_ms=round(duration_s * 1000, 2),
        )  # fmt: skip


class Guard:
    """Limits on size and time, and the answer when all else fails."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app
        self._bodies = _Bodies()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        begun, body = False, _Body(receive, self._bodies)

        async def send_noting(message: Message) -> None:
            nonlocal begun
            begun = True
            await send(message)

        try:
            async with asyncio.timeout(_PATIENCE_S.get(scope["path"], REQUEST_TIMEOUT_S)):
                if _declared_size(scope) > BODY_MAX_BYTES:
                    await _drain(receive)
                    await errors.too_large()(scope, receive, send_noting)
                else:
                    await self._app(scope, body.receive, send_noting)
        except Exception as error:
            if begun:
                raise
            await errors.answer_to(error, scope)(scope, receive, send)
        finally:
            self._bodies.held_bytes -= body.received_bytes


class Cors(CORSMiddleware):
    """Also a preflight that is refused answers in the envelope."""

    def preflight_response(self, request_headers: Headers) -> Response:
        response = super().preflight_response(request_headers)
        if response.status_code < 400:
            return response
        refused = failure(_NO_CORS, "cors", bytes(response.body).decode())
        refused.headers.update(_without_body_headers(response.headers))
        return refused


def sign_in_to_log(user_id: object) -> None:
    """Let what is logged for this request tell who asked."""
    bind_contextvars(user_id=str(user_id))


class _Bodies:
    """What came of the bodies of all requests that are under way."""

    held_bytes = 0


class _Body:
    """One request's, counted as it comes: a client need not declare how much it sends."""

    def __init__(self, receive: Receive, bodies: _Bodies) -> None:
        self._receive = receive
        self._bodies = bodies
        self.received_bytes = 0

    async def receive(self) -> Message:
        message = await self._receive()
        size_bytes = len(message.get("body", b""))
        self.received_bytes += size_bytes
        self._bodies.held_bytes += size_bytes
        if self.received_bytes > BODY_MAX_BYTES:
            await self._refuse(413, message)
        if self._bodies.held_bytes > BODIES_MAX_BYTES:
            await self._refuse(429, message)
        return message

    async def _refuse(self, status: int, message: Message) -> NoReturn:
        if message.get("more_body", False):
            await _drain(self._receive)
        raise HTTPException(status)


async def _drain(receive: Receive) -> None:
    """Read on for a while: a client that is still sending would not see the answer."""
    drained = 0
    while drained < _DRAIN_MAX_BYTES:
        message = await receive()
        drained += len(message.get("body", b""))
        if not message.get("more_body", False):
            return


def _declared_size(scope: Scope) -> int:
    for name, value in scope["headers"]:
        if name == b"content-length":
            return int(value) if value.isdigit() else 0
    return 0


def _raw(headers: dict[str, str]) -> list[tuple[bytes, bytes]]:
    return [(name.lower().encode(), value.encode()) for name, value in headers.items()]


def _without_body_headers(headers: MutableHeaders) -> dict[str, str]:
    return {k: v for k, v in headers.items() if k not in ("content-length", "content-type")}
