"""The layers around every request, as plain ASGI, because each of them costs time in every request.

`RequestContextMiddleware` is the outermost and `RequestLimitsMiddleware` the innermost. CORS, where
it is configured, is between them.
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
from api.http.authorization import user_id_of
from api.http.body_limits import BODY_MAX_BYTES, BodyBudgets, LimitedBody
from api.http.envelope import Kind, answer_clock, failure
from api.http.metrics import ApiMetrics
from api.http.static_pages import is_page
from core.clock import REAL_TIME, Clock

# The limit of a request, from its head to the end of its response.
REQUEST_TIMEOUT_S = 15
# Routes with a limit of their own: an audit reads the whole ledger.
_ROUTE_TIMEOUTS_S = {"/api/v1/admin/audit": 600}

# The defaults of Helmet (https://helmetjs.github.io).
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
    """Adds the request id and the security headers, and records the request in log and metrics."""

    def __init__(
        self,
        app: ASGIApp,
        *,
        metrics: ApiMetrics,
        behind_tls: bool,
        page_policy: str,
        clock: Clock = REAL_TIME,
    ) -> None:
        self._app = app
        self._metrics = metrics
        self._clock = clock
        hsts = {"Strict-Transport-Security": _HSTS} if behind_tls else {}
        self._headers = _raw(
            SECURITY_HEADERS | hsts | {"Content-Security-Policy": NO_CONTENT_POLICY}
        )
        # Browsers ask for a page again at each visit, so a new version shows at once.
        page = {"Content-Security-Policy": page_policy, "Cache-Control": "no-cache"}
        self._page_headers = _raw(SECURITY_HEADERS | hsts | page)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        started, status = perf_counter(), 500
        request_id = uuid4().hex
        headers = self._headers_for(scope["path"], request_id)

        async def send_with_headers(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
                message = {**message, "headers": [*message["headers"], *headers]}
            await send(message)

        # Not reset at the end: uvicorn runs each request in a task, which has a context of its own.
        bind_contextvars(request_id=request_id)
        answer_clock.set(self._clock)
        try:
            await self._app(scope, receive, send_with_headers)
        finally:
            self._record(scope, status, perf_counter() - started)

    def _headers_for(self, path: str, request_id: str) -> list[tuple[bytes, bytes]]:
        own = [(b"x-request-id", request_id.encode())]
        if is_page(path):
            return self._page_headers + own
        if path.startswith("/api/"):
            own.append((b"cache-control", b"no-store"))
        return self._headers + own

    def _record(self, scope: Scope, status: int, duration_s: float) -> None:
        # Metrics are labelled by the template of the path: paths are as many as ids.
        route = getattr(scope.get("route"), "path", "none")
        method = scope["method"] if route != "none" else "any"
        self._metrics.answered(method, route, status, duration_s)
        _log.info(
            "request", method=scope["method"], path=scope["path"], status=status,
            duration_ms=round(duration_s * 1000, 2),
        )  # fmt: skip


class RequestLimitsMiddleware:
    """Limits the size and the time of a request, and makes the response to every exception."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app
        self._budgets = BodyBudgets()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        started, body = False, LimitedBody(scope, receive, self._budgets, user_id_of)

        async def send_noting_start(message: Message) -> None:
            nonlocal started
            started = True
            await send(message)

        try:
            async with asyncio.timeout(_ROUTE_TIMEOUTS_S.get(scope["path"], REQUEST_TIMEOUT_S)):
                if _declared_size(scope) > BODY_MAX_BYTES:
                    await body.drain()
                    await errors.too_large()(scope, receive, send_noting_start)
                else:
                    await self._app(scope, body.receive, send_noting_start)
        except Exception as error:
            # A response that has started can't become an error. The server closes the connection.
            if started:
                raise
            too_slow = isinstance(error, TimeoutError) and body.is_awaited
            response = errors.too_slow() if too_slow else errors.answer_to(error, scope)
            await response(scope, receive, send)
        finally:
            body.release()


class Cors(CORSMiddleware):
    """CORS whose refused preflight requests are answered in the envelope."""

    def preflight_response(self, request_headers: Headers) -> Response:
        response = super().preflight_response(request_headers)
        if response.status_code < 400:
            return response
        refused = failure(_NO_CORS, "cors", bytes(response.body).decode())
        refused.headers.update(_without_body_headers(response.headers))
        return refused


def _declared_size(scope: Scope) -> int:
    for name, value in scope["headers"]:
        if name == b"content-length":
            return int(value) if value.isdigit() else 0
    return 0


def _raw(headers: dict[str, str]) -> list[tuple[bytes, bytes]]:
    return [(name.lower().encode(), value.encode()) for name, value in headers.items()]


def _without_body_headers(headers: MutableHeaders) -> dict[str, str]:
    return {k: v for k, v in headers.items() if k not in ("content-length", "content-type")}
