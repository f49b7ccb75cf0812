"""The fields of requests and answers: limits and units once, for validation and documentation."""

import re
from datetime import UTC, datetime
from decimal import Decimal
from typing import Annotated, Any

from pydantic import (
    AfterValidator,
    AwareDatetime,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    PlainSerializer,
    StringConstraints,
    WithJsonSchema,
)

from core.units import rfc3339

_DECIMAL = re.compile(r"[+-]?\d{1,40}(\.\d{1,40})?", re.ASCII)
_UNPRINTABLE = re.compile("[\x00-\x1f\x7f-\x9f\ud800-\udfff]")
_EARLIEST, _LATEST = datetime(2000, 1, 1, tzinfo=UTC), datetime(2100, 1, 1, tzinfo=UTC)


class Body(BaseModel):
    """What a client sends: fields that we don't know are refused, they may be misspelt."""

    model_config = ConfigDict(extra="forbid", frozen=True)


class View(BaseModel):
    """What a client is shown, made from a row."""

    model_config = ConfigDict(from_attributes=True, frozen=True)


class PageQuery(BaseModel):
    """Which part of a list."""

    limit: Annotated[int, Field(ge=1, le=100, description="At most so many items")] = 20
    cursor: Annotated[
        str | None, Field(max_length=500, description="`next_cursor` of the part before")
    ] = None


def _plain_decimal(value: Any) -> Any:
    """Decimals as people write them: Python would also take `1_000` and other scripts' digits."""
    if isinstance(value, str) and not _DECIMAL.fullmatch(value):
        raise ValueError("must be a finite decimal number such as 12.5")
    return value


def _printable(value: str) -> str:
    if _UNPRINTABLE.search(value):
        raise ValueError("must not contain control characters")
    return value


def _whole_billionths(degrees: float) -> float:
    """A tenth of a millimetre; squares of much less would be too small for the database."""
    return round(degrees, 9) + 0.0


Exact = BeforeValidator(_plain_decimal)
Degrees = AfterValidator(_whole_billionths)
Printable = AfterValidator(_printable)

# What comes in ---------------------------------------------------------------------------------

Kwh = Annotated[
    Decimal, Exact, Field(gt=0, max_digits=12, decimal_places=3, examples=["2.500"],
                          description="Energy in kWh, at most 3 decimals; string or number"),
]  # fmt: skip
KwhOrNone = Annotated[
    Decimal, Exact, Field(ge=0, max_digits=12, decimal_places=3, examples=["2.500"],
                          description="Energy in kWh, at most 3 decimals; string or number"),
]  # fmt: skip
PricePerKwh = Annotated[
    Decimal, Exact, Field(gt=0, max_digits=10, decimal_places=4, examples=["6.5000"],
                          description="INR per kWh, at most 4 decimals; string or number"),
]  # fmt: skip
Money = Annotated[
    Decimal, Exact, Field(gt=0, max_digits=14, decimal_places=2, examples=["500.00"],
                          description="INR, at most 2 decimals; string or number"),
]  # fmt: skip
Latitude = Annotated[
    float, Field(ge=-90, le=90, allow_inf_nan=False, examples=[12.9716],
                 description="WGS 84 degrees, north positive"), Degrees,
]  # fmt: skip
Longitude = Annotated[
    float, Field(ge=-180, le=180, allow_inf_nan=False, examples=[77.5946],
                 description="WGS 84 degrees, east positive"), Degrees,
]  # fmt: skip
Instant = Annotated[
    AwareDatetime, Field(ge=_EARLIEST, le=_LATEST, examples=["2026-03-01T06:30:00Z"],
                         description="RFC 3339, with its zone"),
]  # fmt: skip
Name = Annotated[
    str, StringConstraints(strip_whitespace=True, min_length=1, max_length=100), Printable
]

# What goes out ---------------------------------------------------------------------------------

ShownInstant = Annotated[
    datetime,
    PlainSerializer(rfc3339, return_type=str),
    WithJsonSchema(
        {"type": "string", "format": "date-time", "examples": ["2026-03-01T06:30:00.000000Z"]},
        mode="serialization",
    ),
]
ShownKwh = Annotated[Decimal, Field(examples=["12.500"], description="kWh, 3 decimals")]
ShownPrice = Annotated[Decimal, Field(examples=["6.5000"], description="INR per kWh, 4 decimals")]
ShownMoney = Annotated[Decimal, Field(examples=["81.25"], description="INR, 2 decimals")]
