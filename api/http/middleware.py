"""What surrounds every request, as plain ASGI: per-request cost is the point.

`RequestContextMiddleware` is outermost and `RequestLimitsMiddleware` innermost. CORS, where it is
on, is between them.
"""

import asyncio
from time import perf_counter
from uuid import uuid4

import structlog
from starlette.datastructures import Headers, MutableHeaders
from starlette.middleware.cors import CORSMiddleware
from starlette.responses import Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send
from structlog.contextvars import bind_contextvars

from api.http import errors
from api.http.bearer import user_of
from api.http.bodies import BODY_MAX_BYTES, RequestBody, rooms
from api.http.envelope import Kind, failure
from api.http.metrics import ApiMetrics
from api.http.static_pages import is_page

REQUEST_TIMEOUT_S = 15
# What is known to take longer.
_PATIENCE_S = {"/api/v1/admin/audit": 600}

# As Helmet sets them.
SECURITY_HEADERS = {
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
NO_CONTENT_POLICY = "default-src 'none'; frame-ancestors 'none'"
_NO_CORS = Kind("AuthorizationError", 400)
_HSTS = "max-age=31536000; includeSubDomains"

_log = structlog.get_logger()


class RequestContextMiddleware:
    """A request's id, its headers, its line in the log and in the metrics."""

    def __init__(
        self, app: ASGIApp, *, metrics: ApiMetrics, behind_tls: bool, page_policy: str
    ) -> None:
        self._app = app
        self._metrics = metrics
        hsts = {"Strict-Transport-Security": _HSTS} if behind_tls else {}
        self._headers = _raw(
            SECURITY_HEADERS | hsts | {"Content-Security-Policy": NO_CONTENT_POLICY}
        )
        # Asked for anew at each visit: what changed is on the page at once.
        page = {"Content-Security-Policy": page_policy, "Cache-Control": "no-cache"}
        self._page_headers = _raw(SECURITY_HEADERS | hsts | page)

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


class RequestLimitsMiddleware:
    """Limits on size and time, and the answer when all else fails."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app
        self._rooms = rooms()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        begun, body = False, RequestBody(scope, receive, self._rooms, user_of)

        async def send_noting(message: Message) -> None:
            nonlocal begun
            begun = True
            await send(message)

        try:
            async with asyncio.timeout(_PATIENCE_S.get(scope["path"], REQUEST_TIMEOUT_S)):
                if _declared_size(scope) > BODY_MAX_BYTES:
                    await body.discard()
                    await errors.too_large()(scope, receive, send_noting)
                else:
                    await self._app(scope, body.receive, send_noting)
        except Exception as error:
            if begun:
                raise
            too_slow = isinstance(error, TimeoutError) and body.is_awaited
            answer = errors.too_slow() if too_slow else errors.answer_to(error, scope)
            await answer(scope, receive, send)
        finally:
            body.release()


class Cors(CORSMiddleware):
    """Also a preflight that is refused answers in the envelope."""

    def preflight_response(self, request_headers: Headers) -> Response:
        response = super().preflight_response(request_headers)
        if response.status_code < 400:
            return response
        refused = failure(_NO_CORS, "cors", bytes(response.body).decode())
        refused.headers.update(_without_body_headers(response.headers))
        return refused


def sign_in(scope: Scope, user_id: object) -> None:
    """Let what is logged for this request tell who asks, and its body have the room of a user."""
    who = str(user_id)
    scope.setdefault("state", {})["user_id"] = who
    bind_contextvars(user_id=who)


def _declared_size(scope: Scope) -> int:
    for name, value in scope["headers"]:
        if name == b"content-length":
            return int(value) if value.isdigit() else 0
    return 0


def _raw(headers: dict[str, str]) -> list[tuple[bytes, bytes]]:
    return [(name.lower().encode(), value.encode()) for name, value in headers.items()]


def _without_body_headers(headers: MutableHeaders) -> dict[str, str]:
    return {k: v for k, v in headers.items() if k not in ("content-length", "content-type")}
