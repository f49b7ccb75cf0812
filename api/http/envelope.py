"""The envelope: the one format of all responses."""

import json
from collections.abc import Mapping, Sequence
from contextvars import ContextVar
from types import NoneType
from typing import Annotated, Any, Generic, Literal, NamedTuple, TypeVar, get_args

from pydantic import BaseModel, ConfigDict, Field
from starlette.responses import JSONResponse, Response
from structlog.contextvars import get_contextvars

from api.http.fields import ShownInstant
from core.clock import REAL_TIME, Clock
from core.units import rfc3339

T = TypeVar("T")

# The hub's clock, which `RequestContextMiddleware` sets for each request: responses are made in
# places that no services reach.
answer_clock: ContextVar[Clock] = ContextVar("answer_clock", default=REAL_TIME)


def _schema_name(shape: Any) -> str:
    """Return the name under which the documentation lists a type."""
    if shape is None or shape is NoneType:
        return "Empty"
    names = [_schema_name(part) for part in get_args(shape) if part is not NoneType]
    return "Or".join(names) or str(shape.__name__).removesuffix("View")


class Answer(BaseModel, Generic[T]):
    """The response to a request that was carried out."""

    model_config = ConfigDict(frozen=True)

    success: Literal[True] = True
    status_code: Annotated[int, Field(serialization_alias="statusCode", examples=[200])] = 200
    message: Annotated[str, Field(examples=["Success"])] = "Success"
    data: T
    timestamp: ShownInstant = Field(default_factory=lambda: answer_clock.get().now())

    @classmethod
    def model_parametrized_name(cls, params: tuple[Any, ...]) -> str:
        return f"{_schema_name(params[0])}Response"


class Page(BaseModel, Generic[T]):
    """A page of a list."""

    model_config = ConfigDict(frozen=True)

    items: list[T]
    next_cursor: Annotated[
        str | None,
        Field(description="Send it as `cursor` to get the next page; null on the last page"),
    ]

    @classmethod
    def model_parametrized_name(cls, params: tuple[Any, ...]) -> str:
        return f"{_schema_name(params[0])}Page"


class FieldProblem(BaseModel):
    field: Annotated[str, Field(examples=["energy_kwh"])]
    message: Annotated[str, Field(examples=["Input should be greater than 0"])]


class ErrorDetail(BaseModel):
    type: Annotated[str, Field(examples=["ConflictError"])]
    code: Annotated[
        str, Field(examples=["insufficient_energy"], description="Stable code for programs")
    ]
    details: list[FieldProblem]


class Failure(BaseModel):
    """The response to a request that failed."""

    success: Literal[False]
    status_code: Annotated[int, Field(alias="statusCode", examples=[409])]
    message: Annotated[str, Field(description="Sentence for people")]
    error: ErrorDetail
    timestamp: ShownInstant
    request_id: Annotated[str, Field(alias="requestId")]


class Kind(NamedTuple):
    """A type of error and its HTTP status."""

    type: str
    status: int


def ok(data: T) -> Answer[T]:
    """Return the answer of a route with status 200."""
    return Answer(data=data)


def ok_of_json(items: Sequence[str], next_cursor: str | None) -> Response:
    """Return `Answer[Page[…]]` of items that are JSON already, which is faster for long lists."""
    data = f'{{"items":[{",".join(items)}],"next_cursor":{json.dumps(next_cursor)}}}'
    body = (
        f'{{"success":true,"statusCode":200,"message":"Success","data":{data},'
        f'"timestamp":"{rfc3339(answer_clock.get().now())}"}}'
    )
    return Response(body, media_type="application/json")


def created_of_json(data: str, headers: Mapping[str, str] | None = None) -> Response:
    """Return the response of `created` with data that is JSON already."""
    body = (
        f'{{"success":true,"statusCode":201,"message":"Created","data":{data},'
        f'"timestamp":"{rfc3339(answer_clock.get().now())}"}}'
    )
    return Response(body, 201, headers, media_type="application/json")


def created(data: T) -> Answer[T]:
    """Return the answer of a route that is declared with `status_code=201`."""
    return Answer(status_code=201, message="Created", data=data)


def failure(
    kind: Kind,
    code: str,
    message: str,
    *,
    details: Sequence[Mapping[str, str]] = (),
    headers: Mapping[str, str] | None = None,
) -> JSONResponse:
    """Return the response to a failed request. `details` are fields and what is wrong with them."""
    body = {
        "success": False,
        "statusCode": kind.status,
        "message": message,
        "error": {"type": kind.type, "code": code, "details": list(details)},
        "timestamp": rfc3339(answer_clock.get().now()),
        "requestId": get_contextvars().get("request_id", ""),
    }
    return JSONResponse(body, kind.status, headers)
