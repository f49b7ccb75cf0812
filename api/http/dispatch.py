"""What a route does with a request: find what its function asks for, check it, call, answer.

FastAPI reads the function's signature and documents it. For each request it would then go through
all that a function may ask for, which took as long as the rest of a short answer. Ours ask for
little, and what that is, is found out once: what is made of the request alone, texts in path and
headers, one model of the query, one model in the body.
"""

import json
from collections.abc import Awaitable, Callable
from decimal import Decimal
from typing import Any

from fastapi.exceptions import RequestValidationError, ResponseValidationError
from fastapi.routing import APIRoute
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response
from starlette.types import Receive, Scope, Send

# A part of a request: where it is, for who reads of its flaws; how to read it, None without it;
# and the framework's field that checks it.
_Part = tuple[tuple[str, ...], Callable[[Request], Any], Any]
_MEMBERS_MAX = 100


class Handler:
    """The ASGI app of one route."""

    def __init__(self, route: APIRoute) -> None:
        asked = route.dependant
        assert asked.call is not None
        self._call: Callable[..., Awaitable[Any]] = asked.call
        self._made = [(str(made.name), made.call) for made in asked.dependencies]
        self._parts = _parts(route)
        self._reads_body = bool(asked.body_params)
        self._request_name = asked.request_param_name
        self._response_name = asked.response_param_name
        self._shown = route.response_field
        self._status = route.status_code or 200

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        response = await self._answer(Request(scope, receive))
        await response(scope, receive, send)

    async def _answer(self, request: Request) -> Response:
        """Raises RequestValidationError, HTTPException, and what dependencies and function do."""
        values: dict[str, Any] = {}
        for name, make in self._made:
            values[name] = await make(request)  # type: ignore[misc]
        # After who asks is known: nobody else's body is waited for.
        if self._reads_body:
            request.state.body = await _read_body(request)
        self._check(request, values)
        if self._request_name is not None:
            values[self._request_name] = request
        if self._response_name is None:
            return self._written(await self._call(**values))
        noted = values[self._response_name] = Response()
        response = self._written(await self._call(**values))
        del noted.headers["Content-Length"]
        response.raw_headers += noted.raw_headers
        return response

    def _check(self, request: Request, values: dict[str, Any]) -> None:
        flaws: list[Any] = []
        for where, read, field in self._parts:
            value = read(request)
            if value is not None:
                values[field.name], its_flaws = field.validate(value, loc=where)
                flaws += its_flaws
            elif field.field_info.is_required():
                flaws.append({"type": "missing", "loc": where, "msg": "Field required"})
            else:
                values[field.name] = field.default
        if flaws:
            raise RequestValidationError(flaws)

    def _written(self, answer: Any) -> Response:
        if isinstance(answer, Response):
            return answer
        assert self._shown is not None
        shown, flaws = self._shown.validate(answer, loc=("response",))
        if flaws:
            raise ResponseValidationError(flaws, body=answer)
        body = self._shown.serialize_json(shown)
        return Response(body, self._status, media_type="application/json")


def _parts(route: APIRoute) -> list[_Part]:
    asked, parts = route.dependant, list[_Part]()
    assert not asked.cookie_params
    assert len(asked.query_params) <= 1
    assert len(asked.body_params) <= 1
    for field in asked.path_params:
        parts.append((("path", field.alias), _of_path(field.alias), field))
    for field in asked.query_params:
        parts.append((("query",), lambda request: dict(request.query_params), field))
    for field in asked.header_params:
        parts.append((("header", field.alias), _of_headers(field.alias), field))
    for field in asked.body_params:
        parts.append((("body",), lambda request: request.state.body, field))
    return parts


def _of_path(name: str) -> Callable[[Request], str]:
    return lambda request: request.path_params[name]


def _of_headers(name: str) -> Callable[[Request], str | None]:
    return lambda request: request.headers.get(name)


async def _read_body(request: Request) -> Any:
    """JSON where it is declared as such, None if there is nothing. Raises HTTPException."""
    body = await request.body()
    if not body or not _is_json(request.headers.get("Content-Type", "")):
        return body or None
    try:
        # A number with a point is a Decimal: a float would drop decimals that are too many.
        read = json.loads(body, parse_float=Decimal)
    except json.JSONDecodeError as error:
        flaw = {"type": "json_invalid", "loc": ("body", error.pos), "msg": "JSON decode error"}
        raise RequestValidationError([flaw]) from error
    except (ValueError, RecursionError) as error:
        raise HTTPException(400) from error
    if isinstance(read, dict) and len(read) > _MEMBERS_MAX:
        # To check them one by one would stop the loop: each unknown one is an error of its own.
        told = f"must have at most {_MEMBERS_MAX} fields, not {len(read)}"
        raise RequestValidationError([{"type": "too_long", "loc": ("body",), "msg": told}])
    # The framework reads models from objects' attributes too, and a Decimal is an object.
    return float(read) if isinstance(read, Decimal) else read


def _is_json(content_type: str) -> bool:
    kind, _, detail = content_type.partition(";")[0].strip().lower().partition("/")
    return kind == "application" and (detail == "json" or detail.endswith("+json"))
