"""Types of settings: how text of the environment becomes a value, and what is allowed."""

import re
from datetime import timedelta
from decimal import Decimal
from ipaddress import ip_network
from typing import Annotated
from urllib.parse import urlsplit

from pydantic import AfterValidator, BeforeValidator, Field, SecretStr
from pydantic_settings import NoDecode

# Payment providers that the API has an adapter for.
PAYMENT_PROVIDERS = ("sandbox",)

# As long as the output of HMAC-SHA256 (RFC 7518, section 3.2).
_SECRET_MIN_BYTES = 32

_UNIT_S = {"ms": 0.001, "s": 1, "m": 60, "min": 60, "h": 3600, "d": 86400}
_DURATION = re.compile(r"\s*(\d+(?:\.\d+)?)\s*(ms|s|min|m|h|d)\s*")
# One limit in the notation of the library `limits`: `100/minute`, `5 per 10 minutes`.
_RATE = re.compile(
    r"[1-9][0-9]{0,4} ?(?:/|per) ?(?:[1-9][0-9]{0,2} ?)?(?:second|minute|hour|day)s?"
)

# Scheme, host and port, without a path: RFC 6454, section 6.2.
_ORIGIN = re.compile(r"https?://([a-z0-9.-]+|\[[0-9a-f:.]+\])(:[0-9]{1,5})?", re.IGNORECASE)


def _duration(value: object) -> object:
    if isinstance(value, timedelta):
        return value
    # Without a unit only 0 is clear.
    if str(value).strip() == "0":
        return timedelta(0)
    match = _DURATION.fullmatch(str(value))
    if match is None:
        raise ValueError("must be a duration with its unit, such as 500ms, 30s, 5m, 1h or 7d")
    return timedelta(seconds=float(match[1]) * _UNIT_S[match[2]])


def _not_negative(value: timedelta) -> timedelta:
    if value < timedelta(0):
        raise ValueError("must be 0 or longer")
    return value


def _positive(value: timedelta) -> timedelta:
    if value <= timedelta(0):
        raise ValueError("must be longer than 0")
    return value


def _rates(value: str) -> str:
    if value != "off" and not all(_RATE.fullmatch(part.strip()) for part in value.split(";")):
        raise ValueError("must be off, or limits such as 10/minute;100/hour")
    return value


def _networks(values: tuple[str, ...]) -> tuple[str, ...]:
    for value in values:
        try:
            ip_network(value)
        except ValueError:
            raise ValueError(
                "must be addresses or networks such as 10.0.0.7,172.16.0.0/12"
            ) from None
    return values


def _origins(values: tuple[str, ...]) -> tuple[str, ...]:
    for value in values:
        if value != "*" and not _ORIGIN.fullmatch(value):
            raise ValueError(
                "must be origins such as https://app.example.org,http://localhost:8081, or *"
            )
    return values


def _comma_separated(value: object) -> object:
    if isinstance(value, str):
        return tuple(part.strip() for part in value.split(",") if part.strip())
    return value


def _long_enough(value: SecretStr) -> SecretStr:
    if len(value.get_secret_value().encode()) < _SECRET_MIN_BYTES:
        raise ValueError(f"must have at least {_SECRET_MIN_BYTES} bytes")
    return value


def _known_providers(names: tuple[str, ...]) -> tuple[str, ...]:
    if any(name not in PAYMENT_PROVIDERS for name in names):
        raise ValueError(f"must be names of payment providers: {', '.join(PAYMENT_PROVIDERS)}")
    return names


def _url(*schemes: str) -> AfterValidator:
    def check(value: str) -> str:
        parts = urlsplit(value)
        if parts.scheme not in schemes:
            raise ValueError(
                f"must be a URL that starts with {' or '.join(f'{s}://' for s in schemes)}"
            )
        return value

    return AfterValidator(check)


def _tile_template(value: str) -> str:
    if not all(part in value for part in ("{z}", "{x}", "{y}")):
        raise ValueError("must hold {z}, {x} and {y}")
    # The page's Content-Security-Policy contains it: these characters would end its directive.
    if re.search(r"[\s;,'\"]", value):
        raise ValueError("must have no spaces, commas, semicolons or quotes")
    return value


def cluster_nodes(redis_url: str) -> list[str]:
    """Return the URLs of the nodes in a cluster's URL; none if it is the URL of a single server."""
    scheme, _, rest = redis_url.partition("://")
    if not scheme.endswith("+cluster"):
        return []
    authority, slash, path = rest.partition("/")
    credentials, at, nodes = authority.rpartition("@")
    plain = scheme.removesuffix("+cluster")
    return [f"{plain}://{credentials}{at}{node}{slash}{path}" for node in nodes.split(",")]


def _cluster_has_one_database(redis_url: str) -> str:
    if any(urlsplit(node).path not in ("", "/", "/0") for node in cluster_nodes(redis_url)):
        raise ValueError("a cluster has one database: its URL ends after the nodes")
    return redis_url


Duration = Annotated[timedelta, BeforeValidator(_duration), AfterValidator(_positive)]
DurationOrZero = Annotated[timedelta, BeforeValidator(_duration), AfterValidator(_not_negative)]
Rate = Annotated[str, AfterValidator(_rates)]
Port = Annotated[int, Field(ge=1, le=65535)]
DatabaseUrl = Annotated[str, _url("postgresql", "postgres")]
RedisUrl = Annotated[
    str,
    _url("redis", "rediss", "unix", "redis+cluster", "rediss+cluster"),
    AfterValidator(_cluster_has_one_database),
]
MqttUrl = Annotated[str, _url("mqtt", "mqtts")]
HttpUrl = Annotated[str, _url("http", "https")]
FeedUrl = Annotated[str, _url("ws", "wss")]
TilesUrl = Annotated[str, _url("http", "https"), AfterValidator(_tile_template)]
Names = Annotated[tuple[str, ...], NoDecode, BeforeValidator(_comma_separated)]
Origins = Annotated[Names, AfterValidator(_origins)]
Networks = Annotated[Names, AfterValidator(_networks)]
ProviderNames = Annotated[Names, AfterValidator(_known_providers)]
Secret = Annotated[SecretStr, AfterValidator(_long_enough)]
UnitPrice = Annotated[Decimal, Field(gt=0, max_digits=10, decimal_places=4)]
Energy = Annotated[Decimal, Field(max_digits=12, decimal_places=3)]
