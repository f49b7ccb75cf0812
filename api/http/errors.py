"""The responses to errors, in one table: domain, validation, framework, database.

`answer_to` makes the response to any exception that a route raises. `DatabaseFaults` records the
errors of the database for the log and for `/readyz`.
"""

import math
import time
from collections import defaultdict
from collections.abc import Callable, Sequence
from typing import Any

import structlog
from fastapi.exceptions import RequestValidationError
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect
from starlette.responses import Response
from starlette.routing import Match
from starlette.types import Scope

from api.http.envelope import Failure, Kind, failure
from core import errors
from core.errors import DomainError
from core.log import OncePerSecond
from db import server
from db.errors import UNAVAILABLE, database_errors, shortage
from db.pool import Pool

_RETRY = {"Retry-After": "2"}
_CLOSE = {"Connection": "close"}
# Limits on a response about invalid fields, whatever the client sent.
_DETAILS_MAX = 50
_FIELD_LENGTH_MAX = 100
# A process that is not ready gets no requests, and so sees no errors. It forgets a fault after
# this long, and then finds out by a write of its own.
_FAULT_REMEMBERED_S = 5.0
_WRITE_INTERVAL_S = 1.0

_log = structlog.get_logger()

_VALIDATION = Kind("ValidationError", 400)
_TOO_LARGE = Kind("ValidationError", 413)
_TOO_SLOW = Kind("ValidationError", 408)
_NO_PATH = Kind("NotFoundError", 404)
_NO_METHOD = Kind("NotFoundError", 405)
_DATABASE = Kind("DatabaseError", 500)
_DATABASE_UNAVAILABLE = Kind("DatabaseError", 503)
_BUSY = Kind("RateLimitError", 429)
_UNEXPECTED = Kind("UnexpectedError", 500)

_KINDS: dict[type[DomainError], Kind] = {
    errors.Invalid: _VALIDATION,
    errors.Unauthenticated: Kind("AuthenticationError", 401),
    errors.Forbidden: Kind("AuthorizationError", 403),
    errors.NotFound: Kind("NotFoundError", 404),
    errors.Conflict: Kind("ConflictError", 409),
    errors.TooMany: Kind("RateLimitError", 429),
    errors.Unavailable: Kind("UnavailableError", 503),
}

# Kind, code and message of the exceptions that Starlette, `dispatch` and `body_limits` raise.
_BY_STATUS = {
    404: (_NO_PATH, "no_such_path", "There is no such path."),
    405: (_NO_METHOD, "no_such_method", "This path does not know this method."),
    413: (
        _TOO_LARGE,
        "body_too_large",
        "The body is larger than 1 MiB, or than 16 KiB without a valid access token.",
    ),
    429: (_BUSY, "too_busy", "Too many large bodies are being sent at once; try again shortly."),
}
_UNREADABLE = (_VALIDATION, errors.Invalid.code, "The body can't be read.")
# The reason of an internal error is in the log only.
_INTERNAL = "Something went wrong on our side."


def kind_of(error: DomainError | type[DomainError]) -> Kind:
    """Return the kind of a domain error, by the nearest of its base classes in the table."""
    cls = error if isinstance(error, type) else type(error)
    return next((_KINDS[base] for base in cls.__mro__ if base in _KINDS), _UNEXPECTED)


def answer_to(error: Exception, scope: Scope) -> Response:
    """Return the response to an exception. Internal errors are logged with their traceback."""
    if isinstance(error, DomainError):
        return _refused(error)
    if isinstance(error, RequestValidationError):
        return _invalid(error)
    if isinstance(error, HTTPException):
        return _refused_by_framework(error, scope)
    if isinstance(error, ClientDisconnect):
        # The client has closed the connection: nothing is logged, and nobody reads the response.
        return failure(*_UNREADABLE)
    if isinstance(error, UNAVAILABLE):
        return _unavailable(error, scope)
    if isinstance(error, database_errors()):
        _log.error("database_error", exc_info=error)
        return failure(_DATABASE, "database_error", _INTERNAL)
    _log.error("unexpected_error", exc_info=error)
    return failure(_UNEXPECTED, "unexpected", _INTERNAL)


def too_large() -> Response:
    """Return the response to a body whose declared size is too large.

    It closes the connection, because the rest of the body is not read.
    """
    return failure(*_BY_STATUS[413], headers=_CLOSE)


def too_slow() -> Response:
    """Return the response to a body that did not end in time."""
    message = "The body took too long to arrive."
    return failure(_TOO_SLOW, "request_too_slow", message, headers=_CLOSE)


def not_ready(fault: str) -> Response:
    """Return the response of `/readyz` while the database has a fault."""
    details = [{"field": "database", "message": fault}]
    return failure(_DATABASE_UNAVAILABLE, "not_ready", fault, details=details, headers=_RETRY)


def answers(*refusals: type[DomainError]) -> dict[int | str, dict[str, Any]]:
    """Document these refusals of a route, and the errors of every route, for OpenAPI."""
    by_status: dict[int, list[str]] = defaultdict(list)
    classes: list[type[DomainError]] = [errors.Invalid, *refusals]
    for refusal in classes:
        sentence = " ".join((refusal.__doc__ or "").split())
        by_status[kind_of(refusal).status].append(f"`{refusal.code}`: {sentence}")
    by_status[413].append(
        "`body_too_large`: the body is larger than 1 MiB, or than 16 KiB without an access token"
    )
    by_status[500].append("`unexpected`, `database_error`: an internal error; the log has details")
    by_status[503].append(
        "`database_unavailable`: the database can't answer; try again after `Retry-After` seconds"
    )
    documented: dict[int | str, dict[str, Any]] = {
        status: {"model": Failure, "description": "; ".join(sentences)}
        for status, sentences in sorted(by_status.items())
    }
    return documented | {"default": {"model": Failure, "description": "Any other failure"}}


def _refused(error: DomainError) -> Response:
    kind = kind_of(error)
    details, headers = [], {}
    if isinstance(error, errors.Invalid):
        facts = error.facts
        details = [{"field": str(facts["field"]), "message": str(facts.get("allowed", error))}]
    if isinstance(error, errors.QuotaExceeded):
        facts = error.facts
        details = [{"field": str(facts["what"]), "message": f"at most {facts['at_most']}"}]
    if kind.status == 401:
        headers["WWW-Authenticate"] = "Bearer"
    if isinstance(error, errors.TooMany):
        headers["Retry-After"] = str(error.facts["retry_after_s"])
    return failure(kind, error.code, error.message, details=details, headers=headers)


def _invalid(error: RequestValidationError) -> Response:
    problems = error.errors()
    details = [
        {"field": _field(e["loc"]), "message": str(e["msg"]).removeprefix("Value error, ")}
        for e in problems[:_DETAILS_MAX]
    ]
    sentences = [f"{d['field']}: {d['message']}" for d in details]
    if len(problems) > _DETAILS_MAX:
        sentences.append(f"and {len(problems) - _DETAILS_MAX} more")
    return failure(_VALIDATION, errors.Invalid.code, "; ".join(sentences), details=details)


def _field(location: Sequence[str | int]) -> str:
    """Return the name of a field for the client: `energy_kwh` for `body.energy_kwh`.

    JSON that can't be parsed has a position instead of a name. The field then is `body`.
    """
    source, *path = location
    names = [str(part) for part in path if isinstance(part, str) or len(path) > 1]
    field = ".".join(names) or str(source)
    # The client chose the name of an unknown field, which may be long.
    return field if len(field) <= _FIELD_LENGTH_MAX else f"{field[:_FIELD_LENGTH_MAX]}…"


def _refused_by_framework(error: HTTPException, scope: Scope) -> Response:
    kind, code, message = _BY_STATUS.get(error.status_code, _UNREADABLE)
    headers = error.headers
    if error.status_code == 405:
        headers = {"Allow": _methods_of(scope)}
    if error.status_code == 413:
        headers = _CLOSE
    if error.status_code == 429:
        headers = _RETRY
    return failure(kind, code, message, headers=headers)


def _methods_of(scope: Scope) -> str:
    """Return the methods of all routes of a path. Starlette names those of the first only."""
    any_method = {**scope, "method": ""}
    routes = (r for r in scope["app"].routes if r.matches(any_method)[0] is not Match.NONE)
    return ", ".join(sorted({method for route in routes for method in route.methods or ()}))


def _unavailable(error: Exception, scope: Scope) -> Response:
    scope["app"].state.services.database_faults.record(error)
    message = "The database can't be reached, is too busy or has no room; try again shortly."
    return failure(_DATABASE_UNAVAILABLE, "database_unavailable", message, headers=_RETRY)


class DatabaseFaults:
    """The errors of the database in the last seconds, for the log and for `/readyz`."""

    def __init__(self, pool: Pool, *, monotonic: Callable[[], float] = time.monotonic) -> None:
        self._pool = pool
        self._monotonic = monotonic
        self._log_limit = OncePerSecond(monotonic=monotonic)
        self._shortage: str | None = None
        self._shortage_at = -math.inf
        self._written_at = -math.inf

    def record(self, error: Exception) -> None:
        """Record an error that a request met, and log at most one line a second."""
        lacking = shortage(error)
        if lacking is not None:
            self._shortage, self._shortage_at = lacking, self._monotonic()
        repeated = self._log_limit.due()
        if repeated is not None:
            event = "database_exhausted" if lacking else "database_unavailable"
            _log.warning(event, error=repr(error), repeated=repeated)

    async def current(self) -> str | None:
        """Return what the server lacks, by recent errors and a small write, or None."""
        if self._monotonic() - self._written_at >= _WRITE_INTERVAL_S:
            self._written_at = self._monotonic()
            await self._write()
        remembered = self._monotonic() - self._shortage_at < _FAULT_REMEMBERED_S
        return self._shortage if remembered else None

    async def _write(self) -> None:
        try:
            async with self._pool.acquire() as conn:
                await server.try_disk(conn)
        except database_errors() as error:
            self.record(error)
