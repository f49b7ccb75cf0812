"""The dispatch of a request to the function of its route, in place of FastAPI's own.

FastAPI reads the signatures of routes and documents them. At each request it would find out again
what a signature needs, which takes longer than the rest of a short answer. `RouteHandler` prepares
that once. It supports what our routes use: dependencies on the request alone, ids in the path,
headers, one model of the query, one model of the body, a model of the answer. `check_supported`
refuses every other route when the process starts.

The answers are those of FastAPI's dispatch, which a test compares for every route, with one
exception: dependencies run before the body is read, so that no body of an unauthorized request is
waited for. The handler relies on `APIRoute.dependant`, `Dependant` and `ModelField`, which are no
public interface: `pyproject.toml` pins FastAPI to one minor version.
"""

import inspect
import json
from collections.abc import Awaitable, Callable, Iterator
from decimal import Decimal
from typing import Any, NamedTuple, get_args

from fastapi import params
from fastapi.datastructures import DefaultPlaceholder
from fastapi.dependencies.models import Dependant
from fastapi.exceptions import RequestValidationError, ResponseValidationError
from fastapi.routing import APIRoute
from fastapi.utils import is_body_allowed_for_status_code
from pydantic import BaseModel
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response
from starlette.types import Receive, Scope, Send

# Unknown fields are one error each. Many of them would block the event loop.
_BODY_FIELDS_MAX = 100
_ABSENT: Any = object()


class UnsupportedRoute(TypeError):
    """A route needs something that `RouteHandler` does not do. Raised when the process starts."""


class _Parameter(NamedTuple):
    location: tuple[str, ...]  # as errors name it
    read: Callable[[Request], Any]  # returns _ABSENT for a parameter that was not sent
    field: Any  # FastAPI's ModelField, which validates


class RouteHandler:
    """The ASGI app of one route. Raises UnsupportedRoute."""

    def __init__(self, route: APIRoute) -> None:
        check_supported(route)
        dependant = route.dependant
        assert dependant.call is not None
        self._call: Callable[..., Awaitable[Any]] = dependant.call
        self._dependencies = [(str(each.name), each.call) for each in dependant.dependencies]
        self._parameters = list(_parameters(dependant))
        self._reads_body = bool(dependant.body_params)
        self._request_name = dependant.request_param_name
        self._response_name = dependant.response_param_name
        self._answer_field = route.response_field
        self._status = route.status_code or 200

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        response = await self._respond(Request(scope, receive))
        await response(scope, receive, send)

    async def _respond(self, request: Request) -> Response:
        """Raises RequestValidationError, HTTPException, and what dependencies and route raise."""
        values: dict[str, Any] = {}
        for name, call in self._dependencies:
            values[name] = await call(request)  # type: ignore[misc]
        # After the dependencies: the body of an unauthorized request is not waited for.
        if self._reads_body:
            request.state.body = await read_json(request)
        self._validate(request, values)
        if self._request_name is not None:
            values[self._request_name] = request
        extra = Response()
        if self._response_name is not None:
            values[self._response_name] = extra
        answer = await self._call(**values)
        return answer if isinstance(answer, Response) else self._serialize(answer, extra)

    def _validate(self, request: Request, values: dict[str, Any]) -> None:
        """Add the parameters to `values`. Raises RequestValidationError for all that are wrong."""
        problems: list[Any] = []
        for location, read, field in self._parameters:
            value = read(request)
            if value is not _ABSENT:
                values[field.name], found = field.validate(value, loc=location)
                problems += found
            elif field.field_info.is_required():
                problems.append({"type": "missing", "loc": location, "msg": "Field required"})
            else:
                values[field.name] = field.default
        if problems:
            raise RequestValidationError(problems)

    def _serialize(self, answer: Any, extra: Response) -> Response:
        """Return the response with the answer, and with the headers that the route set."""
        assert self._answer_field is not None
        validated, problems = self._answer_field.validate(answer, loc=("response",))
        if problems:
            raise ResponseValidationError(problems, body=answer)
        body = self._answer_field.serialize_json(validated)
        response = Response(body, self._status, media_type="application/json")
        if self._response_name is not None:
            del extra.headers["Content-Length"]
            response.raw_headers += extra.raw_headers
        return response


async def read_json(request: Request) -> Any:
    """Return the body: parsed if it is declared as JSON, else its bytes, _ABSENT if it is empty.

    Raises RequestValidationError, HTTPException.
    """
    body = await request.body()
    if not body:
        return _ABSENT
    if not _is_json(request.headers.get("Content-Type", "")):
        return body
    try:
        # A float would drop the decimals that make a number too exact, instead of refusing it.
        parsed = json.loads(body, parse_float=Decimal)
    except json.JSONDecodeError as error:
        problem = {"type": "json_invalid", "loc": ("body", error.pos), "msg": "JSON decode error"}
        raise RequestValidationError([problem]) from error
    except (ValueError, RecursionError) as error:
        raise HTTPException(400) from error
    if isinstance(parsed, dict) and len(parsed) > _BODY_FIELDS_MAX:
        message = f"must have at most {_BODY_FIELDS_MAX} fields, not {len(parsed)}"
        raise RequestValidationError([{"type": "too_long", "loc": ("body",), "msg": message}])
    # FastAPI validates models from attributes too, and would take a Decimal for such an object.
    return float(parsed) if isinstance(parsed, Decimal) else parsed


def _is_json(content_type: str) -> bool:
    kind, _, detail = content_type.partition(";")[0].strip().lower().partition("/")
    return kind == "application" and (detail == "json" or detail.endswith("+json"))


def _parameters(dependant: Dependant) -> Iterator[_Parameter]:
    for field in dependant.path_params:
        yield _Parameter(("path", field.alias), _path_reader(field.alias), field)
    for field in dependant.query_params:
        yield _Parameter(("query",), lambda request: dict(request.query_params), field)
    for field in dependant.header_params:
        yield _Parameter(("header", field.alias), _header_reader(field.alias), field)
    for field in dependant.body_params:
        yield _Parameter(("body",), lambda request: request.state.body, field)


def _path_reader(name: str) -> Callable[[Request], Any]:
    return lambda request: request.path_params[name]


def _header_reader(name: str) -> Callable[[Request], Any]:
    return lambda request: request.headers.get(name, _ABSENT)


# What the handler does not do -------------------------------------------------------------------


def check_supported(route: APIRoute) -> None:
    """Check that the handler does everything that a route needs. Raises UnsupportedRoute."""
    unsupported = list(_unsupported(route))
    if unsupported:
        methods = ", ".join(sorted(route.methods or ()))
        raise UnsupportedRoute(
            f"{methods} {route.path} ({route.name}) needs {'; '.join(unsupported)}: "
            "api/http/dispatch.py does not support that"
        )


def _unsupported(route: APIRoute) -> Iterator[str]:
    yield from _unsupported_answer(route)
    yield from _unsupported_settings(route)
    yield from _unsupported_call(route.dependant)
    yield from _unsupported_parameters(route.dependant)
    calls = [dependency.call for dependency in route.dependant.dependencies]
    for dependency in route.dependant.dependencies:
        name = dependency.name or getattr(dependency.call, "__name__", "dependency")
        for what in _unsupported_dependency(dependency):
            yield f"{what} of the dependency {name}"
        if calls.count(dependency.call) > 1:
            yield f"the dependency {name} twice"


def _unsupported_answer(route: APIRoute) -> Iterator[str]:
    if route.response_field is None:
        answer = inspect.signature(route.endpoint).return_annotation
        if not (inspect.isclass(answer) and issubclass(answer, Response)):
            yield "an answer that is neither a model nor a Response"
    elif not isinstance(route.response_class, DefaultPlaceholder):
        yield "a response class"
    if route.is_sse_stream or route.is_json_stream or route.stream_item_field is not None:
        yield "a stream"
    if not is_body_allowed_for_status_code(route.status_code):
        yield "a status without a body"
    options = ("include", "exclude", "exclude_unset", "exclude_defaults", "exclude_none")
    for option in options:
        if getattr(route, f"response_model_{option}"):
            yield f"response_model_{option}"
    if not route.response_model_by_alias:
        yield "response_model_by_alias=False"


def _unsupported_settings(route: APIRoute) -> Iterator[str]:
    if route.max_body_size is not None or route.form_limits:
        yield "limits of its own on bodies"
    if not isinstance(route.strict_content_type, DefaultPlaceholder):
        yield "strict_content_type"
    if route.dependency_overrides_provider is not None:
        yield "dependency overrides"


def _unsupported_call(dependant: Dependant) -> Iterator[str]:
    call = dependant.call
    if not (inspect.iscoroutinefunction(call) or inspect.iscoroutinefunction(_dunder_call(call))):
        yield "a function without async, or with yield"
    if dependant.concurrency is not None:
        yield "a limit on concurrency"
    if dependant.cookie_params:
        yield "cookies"
    if dependant.websocket_param_name or dependant.http_connection_param_name:
        yield "a WebSocket or HTTPConnection"
    if dependant.background_tasks_param_name:
        yield "background tasks"
    if dependant.security_scopes_param_name or dependant.own_oauth_scopes:
        yield "security scopes"


def _dunder_call(call: Any) -> Any:
    return None if inspect.isclass(call) else getattr(call, "__call__", None)  # noqa: B004


def _unsupported_dependency(dependency: Dependant) -> Iterator[str]:
    yield from _unsupported_call(dependency)
    if dependency.name is None:
        yield "a declaration outside the signature"
    if dependency.dependencies:
        yield "sub-dependencies"
    own = (dependency.path_params, dependency.query_params, dependency.header_params)
    if any(own) or dependency.body_params or dependency.response_param_name:
        yield "parameters beside the request"
    if dependency.request_param_name is None:
        yield "a call without the request"


def _unsupported_parameters(dependant: Dependant) -> Iterator[str]:
    query, body = dependant.query_params, dependant.body_params
    if len(query) > 1 or not all(_model_of(field) for field in query):
        yield "query parameters outside of one model"
    for model in filter(None, map(_model_of, query)):
        for name, info in model.model_fields.items():
            if _holds_list(info.annotation):
                yield f"the list {name} in the query"
    if len(body) > 1 or not all(_model_of(field) for field in body):
        yield "body parameters outside of one model"
    for field in body:
        if isinstance(field.field_info, params.Form) or getattr(field.field_info, "embed", None):
            yield f"the form, file or embedded field {field.name}"
    for field in (*dependant.path_params, *dependant.header_params):
        if _model_of(field) or _holds_list(field.field_info.annotation):
            yield f"the model or list {field.name} in path or headers"
    for field in (*dependant.path_params, *query, *dependant.header_params, *body):
        if field.field_info.validation_alias not in (None, field.alias):
            yield f"a validation alias of {field.name}"
        if field.field_info.validate_default:
            yield f"validation of the default of {field.name}"


def _model_of(field: Any) -> type[BaseModel] | None:
    annotation = field.field_info.annotation
    is_model = inspect.isclass(annotation) and issubclass(annotation, BaseModel)
    return annotation if is_model else None


def _holds_list(annotation: Any) -> bool:
    """Return whether a value of this type is read from several values of the same name."""
    origin = getattr(annotation, "__origin__", annotation)
    is_collection = inspect.isclass(origin) and issubclass(origin, list | tuple | set | frozenset)
    return is_collection or any(_holds_list(part) for part in get_args(annotation))
