"""The types of fields in requests and responses: units and limits, validated and documented."""

import re
from dataclasses import dataclass
from datetime import UTC, datetime
from decimal import Decimal
from typing import Annotated, Any
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from pydantic import (
    AfterValidator,
    AliasChoices,
    AwareDatetime,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    GetCoreSchemaHandler,
    GetJsonSchemaHandler,
    PlainSerializer,
    Strict,
    StringConstraints,
    WithJsonSchema,
)
from pydantic_core import CoreSchema, core_schema

from core.errors import Invalid
from core.units import rfc3339

_CONTROL = r"\x00-\x1f\x7f-\x9f"
_INSTANT = re.compile(r"\d{4}-\d\d-\d\d[Tt ]\d\d:\d\d:\d\d(\.\d+)?([Zz]|[+-]\d\d:\d\d)", re.ASCII)
_EARLIEST, _LATEST = datetime(2000, 1, 1, tzinfo=UTC), datetime(2100, 1, 1, tzinfo=UTC)


class Body(BaseModel):
    """A body that a client sends. Unknown fields are refused, since they may be misspelt."""

    model_config = ConfigDict(extra="forbid", frozen=True)


class View(BaseModel):
    """A response for a client, made from a row of the database."""

    model_config = ConfigDict(from_attributes=True, frozen=True)


@dataclass(frozen=True, slots=True)
class Exact:
    """A decimal above zero, sent as string or number, whose documented pattern is what is accepted.

    `digits` counts all digits, `places` those after the point. With `zero` zero is allowed too. A
    `part` of a whole is at most 1.

    Python's own parser would also accept `1_000`, `1e3` and the digits of other scripts.
    """

    about: str
    example: str
    digits: int
    places: int
    zero: bool = False
    part: bool = False

    def __get_pydantic_core_schema__(self, _: Any, __: GetCoreSchemaHandler) -> CoreSchema:
        decimal = core_schema.decimal_schema(
            max_digits=self.digits,
            decimal_places=self.places,
            ge=Decimal(0) if self.zero else None,
            gt=None if self.zero else Decimal(0),
            le=Decimal(1) if self.part else None,
        )
        return core_schema.no_info_before_validator_function(self._plain, decimal)

    def __get_pydantic_json_schema__(
        self, schema: CoreSchema, handler: GetJsonSchemaHandler
    ) -> dict[str, Any]:
        if handler.mode == "serialization":
            return handler(schema)
        most = 1 if self.part else float(Decimal(10**self.digits - 1).scaleb(-self.places))
        least = {"minimum": 0} if self.zero else {"exclusiveMinimum": 0}
        step = float(Decimal(1).scaleb(-self.places))
        return {
            "type": ["string", "number"],
            "pattern": self._pattern(),
            **least,
            "maximum": most,
            "multipleOf": step,
            "description": f"{self.about}, at most {self.places} decimals; string or number",
            "examples": [self.example],
        }

    def _plain(self, value: Any) -> Any:
        if isinstance(value, bool):
            raise ValueError("must be a decimal number such as 12.5, not true or false")
        if isinstance(value, str) and not re.fullmatch(self._pattern(), value):
            more = "0 or more" if self.zero else "more than 0"
            more += ", at most 1" if self.part else ""
            whole = self.digits - self.places
            raise ValueError(
                f"must be a decimal number such as 12.5, {more}, of at most {whole} digits "
                f"and {self.places} decimals"
            )
        return value

    def _pattern(self) -> str:
        more = self.digits - self.places - 1
        whole = rf"[1-9][0-9]{{0,{more}}}(\.[0-9]{{1,{self.places}}})?"
        if self.part:
            whole = rf"1(\.0{{1,{self.places}}})?"
        if self.zero:
            return rf"^(0(\.[0-9]{{1,{self.places}}})?|{whole})$"
        fractions = "|".join(
            f"0{{{zeros}}}[1-9][0-9]{{0,{self.places - zeros - 1}}}" for zeros in range(self.places)
        )
        return rf"^(0\.({fractions})|{whole})$"


@dataclass(frozen=True, slots=True)
class Matching:
    """A text that matches a pattern. `must` is the error text for people."""

    pattern: str
    must: str

    def __get_pydantic_core_schema__(self, of: Any, handler: GetCoreSchemaHandler) -> CoreSchema:
        return core_schema.no_info_after_validator_function(self._check, handler(of))

    def __get_pydantic_json_schema__(
        self, schema: CoreSchema, handler: GetJsonSchemaHandler
    ) -> dict[str, Any]:
        return {**handler(schema), "pattern": f"^{self.pattern}$"}

    def _check(self, value: str) -> str:
        if not re.fullmatch(self.pattern, value):
            raise ValueError(self.must)
        return value


def _number_only(value: Any) -> Any:
    """Refuse texts and booleans, which pydantic would convert to numbers."""
    if isinstance(value, str | bool):
        raise ValueError("must be a number")
    return value


def _rfc3339_only(value: Any) -> Any:
    """Refuse all but RFC 3339. Pydantic would also accept seconds since 1970 and dates."""
    if isinstance(value, str) and _INSTANT.fullmatch(value):
        return value
    if isinstance(value, datetime):
        return value
    raise ValueError(
        "must be an RFC 3339 date and time with its zone, such as 2026-03-01T06:30:00Z"
    )


def _of_this_century(value: datetime) -> datetime:
    if not _EARLIEST <= value < _LATEST:
        raise ValueError("must lie in the years 2000 to 2099")
    return value


def without_default(schema: dict[str, Any]) -> None:
    """Drop the default of a field of a PATCH: a field that is not sent stays unchanged."""
    schema.pop("default", None)


def _existing_zone(name: str) -> str:
    try:
        return ZoneInfo(name).key
    except (ZoneInfoNotFoundError, ValueError, OSError):
        raise ValueError("must be a name of the tz database, such as Asia/Kolkata") from None


def check_together(**fields: object) -> None:
    """Check that both fields are given, or neither. Raises Invalid for the missing one."""
    missing = [field for field, value in fields.items() if value is None]
    if len(missing) == 1:
        other = next(field for field in fields if field != missing[0])
        raise Invalid(field=missing[0], allowed=f"goes with {other}")


def _whole_billionths(degrees: float) -> float:
    """Round to a tenth of a millimetre. Squares of smaller numbers underflow in PostgreSQL."""
    return round(degrees, 9) + 0.0


Degrees = AfterValidator(_whole_billionths)
JsonNumber = BeforeValidator(_number_only)
Printable = Matching(f"[^{_CONTROL}]*", "must not contain control characters")

# Fields of requests ----------------------------------------------------------------------------

Kwh = Annotated[Decimal, Exact("Energy in kWh", "2.500", 12, 3)]
# The energy of a listing. Its column holds more, so that no sum overflows it.
ListedKwh = Annotated[Decimal, Exact("Energy in kWh", "2.500", 11, 3)]
ListedKwhOrNone = Annotated[Decimal, Exact("Energy in kWh", "2.500", 11, 3, zero=True)]
KwhOrNone = Annotated[Decimal, Exact("Energy in kWh", "2.500", 12, 3, zero=True)]
PricePerKwh = Annotated[Decimal, Exact("Price in INR per kWh", "6.5000", 10, 4)]
# A payment, an investment or a funding target. A wallet holds a hundred of the largest amount.
Money = Annotated[Decimal, Exact("Amount in INR", "500.00", 12, 2)]
RevenueShare = Annotated[
    Decimal,
    Exact(
        "Part of the seller's amount of each sale that goes to investors", "0.3000", 5, 4, part=True
    ),
]
_Latitude = Annotated[
    float, Field(ge=-90, le=90, allow_inf_nan=False, examples=[12.9716],
                 description="WGS 84 latitude in degrees, north positive"), Degrees,
]  # fmt: skip
_Longitude = Annotated[
    float, Field(ge=-180, le=180, allow_inf_nan=False, examples=[77.5946],
                 description="WGS 84 longitude in degrees, east positive"), Degrees,
]  # fmt: skip
# Every route accepts both spellings of a place. The documentation names the first: the long one in
# bodies, the short one in queries.
_LATITUDE_IN_BODY = Field(validation_alias=AliasChoices("latitude", "lat"))
_LONGITUDE_IN_BODY = Field(validation_alias=AliasChoices("longitude", "lon"))
_LATITUDE_IN_QUERY = Field(validation_alias=AliasChoices("lat", "latitude"))
_LONGITUDE_IN_QUERY = Field(validation_alias=AliasChoices("lon", "longitude"))
Latitude = Annotated[_Latitude, JsonNumber, _LATITUDE_IN_BODY]
Longitude = Annotated[_Longitude, JsonNumber, _LONGITUDE_IN_BODY]
OptionalLatitude = Annotated[Annotated[_Latitude, JsonNumber] | None, _LATITUDE_IN_BODY]
OptionalLongitude = Annotated[Annotated[_Longitude, JsonNumber] | None, _LONGITUDE_IN_BODY]
# Without `JsonNumber`: every value of a query is text.
QueryLatitude = Annotated[_Latitude | None, _LATITUDE_IN_QUERY]
QueryLongitude = Annotated[_Longitude | None, _LONGITUDE_IN_QUERY]
Flag = Annotated[bool, Strict()]
Instant = Annotated[
    AwareDatetime, BeforeValidator(_rfc3339_only), AfterValidator(_of_this_century),
    Field(examples=["2026-03-01T06:30:00Z"],
          description="Time in RFC 3339 with its zone, in the years 2000 to 2099"),
]  # fmt: skip
_OneLine = Matching(
    rf"[^{_CONTROL}]*[^\s{_CONTROL}][^{_CONTROL}]*",
    "must be text on one line, without control characters",
)
Name = Annotated[
    str,
    StringConstraints(min_length=1, max_length=100),
    _OneLine,
    AfterValidator(str.strip),
]
# The reason of an administrator's action.
Reason = Annotated[
    str,
    StringConstraints(min_length=1, max_length=500),
    _OneLine,
    AfterValidator(str.strip),
    Field(
        description="Reason for the record of administrators' actions",
        examples=["Inspected the meter on site"],
    ),
]

TimeZone = Annotated[
    str,
    Field(
        max_length=64,
        examples=["Asia/Kolkata"],
        description="Time zone of the device's clock, a name of the tz database; used where its "
        "messages name none",
    ),
    AfterValidator(_existing_zone),
]

# Fields of responses ---------------------------------------------------------------------------

ShownInstant = Annotated[
    datetime,
    PlainSerializer(rfc3339, return_type=str),
    WithJsonSchema(
        {"type": "string", "format": "date-time", "examples": ["2026-03-01T06:30:00.000000Z"]},
        mode="serialization",
    ),
]
ShownKwh = Annotated[Decimal, Field(examples=["12.500"], description="Energy in kWh, 3 decimals")]
ShownPrice = Annotated[
    Decimal, Field(examples=["6.5000"], description="Price in INR per kWh, 4 decimals")
]
ShownMoney = Annotated[Decimal, Field(examples=["81.25"], description="Amount in INR, 2 decimals")]
