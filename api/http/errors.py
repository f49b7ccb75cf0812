"""The one table of errors: what the domain and the database refuse, as HTTP tells it."""

from collections import defaultdict
from collections.abc import Sequence
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
from db.errors import DATABASE_ERRORS, UNAVAILABLE

_RETRY = {"Retry-After": "2"}
_HANG_UP = {"Connection": "close"}
# So that an answer about what is wrong stays small, whatever was sent.
_DETAILS_MAX = 50
_FIELD_MAX = 100

_log = structlog.get_logger()

_VALIDATION = Kind("ValidationError", 400)
_TOO_LARGE = Kind("ValidationError", 413)
_TOO_SLOW = Kind("ValidationError", 408)
_NO_PATH = Kind("NotFoundError", 404)
_NO_METHOD = Kind("NotFoundError", 405)
_DATABASE = Kind("DatabaseError", 500)
_DATABASE_AWAY = Kind("DatabaseError", 503)
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

# What the framework refuses by itself: kind, code, message.
_BY_STATUS = {
    404: (_NO_PATH, "no_such_path", "There is no such path."),
    405: (_NO_METHOD, "no_such_method", "This path does not know this method."),
    413: (
        _TOO_LARGE,
        "body_too_large",
        "The body is larger than 1 MiB, or than 16 KiB of somebody who is not signed in.",
    ),
    429: (_BUSY, "too_busy", "Too many are sending too much at once; try again shortly."),
}
_UNREADABLE = (_VALIDATION, errors.Invalid.code, "The body can't be read.")
_OUR_FAULT = "Something went wrong on our side."


def kind_of(error: DomainError | type[DomainError]) -> Kind:
    cls = error if isinstance(error, type) else type(error)
    return next((_KINDS[base] for base in cls.__mro__ if base in _KINDS), _UNEXPECTED)


def answer_to(error: Exception, scope: Scope) -> Response:
    """What a client is told of any error; of a fault of ours, only the log tells more."""
    if isinstance(error, DomainError):
        return _refused(error)
    if isinstance(error, RequestValidationError):
        return _invalid(error)
    if isinstance(error, HTTPException):
        return _refused_by_framework(error, scope)
    if isinstance(error, ClientDisconnect):
        return failure(*_UNREADABLE)  # which nobody reads; it is no fault of ours
    if isinstance(error, UNAVAILABLE):
        return _unavailable(error, scope)
    if isinstance(error, DATABASE_ERRORS):
        _log.error("database_error", exc_info=error)
        return failure(_DATABASE, "database_error", _OUR_FAULT)
    _log.error("unexpected_error", exc_info=error)
    return failure(_UNEXPECTED, "unexpected", _OUR_FAULT)


def too_large() -> Response:
    """The rest of the body is not read: the connection can't be used again."""
    return failure(*_BY_STATUS[413], headers=_HANG_UP)


def too_slow() -> Response:
    """The body did not end in time."""
    told = "The body took too long to arrive."
    return failure(_TOO_SLOW, "request_too_slow", told, headers=_HANG_UP)


def not_ready(fault: str) -> Response:
    details = [{"field": "database", "message": fault}]
    return failure(_DATABASE_AWAY, "not_ready", fault, details=details, headers=_RETRY)


def answers(*refusals: type[DomainError]) -> dict[int | str, dict[str, Any]]:
    """These refusals, and what any route may answer, for the documentation."""
    by_status: dict[int, list[str]] = defaultdict(list)
    every: list[type[DomainError]] = [errors.Invalid, *refusals]
    for refusal in every:
        sentence = " ".join((refusal.__doc__ or "").split())
        by_status[kind_of(refusal).status].append(f"`{refusal.code}`: {sentence}")
    by_status[413].append("`body_too_large`: the body is larger than 1 MiB (16 KiB signed out)")
    by_status[500].append("`unexpected`, `database_error`: the log tells more")
    by_status[503].append("`database_unavailable`: try again, see `Retry-After`")
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
    flaws = error.errors()
    details = [
        {"field": _field(e["loc"]), "message": str(e["msg"]).removeprefix("Value error, ")}
        for e in flaws[:_DETAILS_MAX]
    ]
    told = [f"{d['field']}: {d['message']}" for d in details]
    if len(flaws) > _DETAILS_MAX:
        told.append(f"and {len(flaws) - _DETAILS_MAX} more")
    return failure(_VALIDATION, errors.Invalid.code, "; ".join(told), details=details)


def _field(location: Sequence[str | int]) -> str:
    """`body.energy_kwh` is `energy_kwh` to the client; broken JSON is wrong as a whole."""
    place, *path = location
    names = [str(part) for part in path if isinstance(part, str) or len(path) > 1]
    field = ".".join(names) or str(place)
    # A client may call a field whatever it likes, and would be sent it back.
    return field if len(field) <= _FIELD_MAX else f"{field[:_FIELD_MAX]}…"


def _refused_by_framework(error: HTTPException, scope: Scope) -> Response:
    told = _BY_STATUS.get(error.status_code, _UNREADABLE)
    headers = error.headers
    if error.status_code == 405:
        headers = {"Allow": _methods_of(scope)}
    if error.status_code == 413:
        headers = _HANG_UP
    if error.status_code == 429:
        headers = _RETRY
    return failure(*told, headers=headers)


def _methods_of(scope: Scope) -> str:
    """What the path knows: several routes may share it, the framework tells of the first."""
    here = {**scope, "method": ""}
    routes = (r for r in scope["app"].routes if r.matches(here)[0] is not Match.NONE)
    return ", ".join(sorted({method for route in routes for method in route.methods or ()}))


def _unavailable(error: Exception, scope: Scope) -> Response:
    scope["app"].state.services.trouble.note(error)
    message = "The database can't be reached, is too busy or has no room; try again shortly."
    return failure(_DATABASE_AWAY, "database_unavailable", message, headers=_RETRY)
