"""Every setting, as small frozen classes, one per part.

Read from environment variables `SOLARHUB_…` and a `.env` file by `load`. A wrong value raises
`SettingError`, which names the variable and what is allowed, never the value: it may be a secret.
"""

import re
from datetime import timedelta
from decimal import Decimal
from ipaddress import ip_network
from typing import Annotated, Any, Literal, TypeVar
from urllib.parse import urlsplit

from pydantic import (
    AfterValidator,
    BeforeValidator,
    Field,
    SecretStr,
    ValidationError,
    ValidationInfo,
    field_validator,
)
from pydantic_settings import BaseSettings, NoDecode, SettingsConfigDict

from core.selling import SellingRules

# Adapters of payment providers that the API can run.
PAYMENT_PROVIDERS = ("sandbox",)

_UNIT_S = {"ms": 0.001, "": 1, "s": 1, "m": 60, "min": 60, "h": 3600, "d": 86400}
_DURATION = re.compile(r"\s*(\d+(?:\.\d+)?)\s*(ms|s|min|m|h|d|)\s*")
# A part of what the library `limits` reads: `100/minute`, `5 per 10 minutes`.
_RATE = re.compile(
    r"[1-9][0-9]{0,4} ?(?:/|per) ?(?:[1-9][0-9]{0,2} ?)?(?:second|minute|hour|day)s?"
)


class SettingError(Exception):
    """A setting is missing or wrong; the message names it and what is allowed."""


def _duration(value: object) -> object:
    if isinstance(value, timedelta):
        return value
    match = _DURATION.fullmatch(str(value))
    if match is None:
        raise ValueError("must be a duration such as 500ms, 30s, 5m, 1h or 7d")
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


def _comma_separated(value: object) -> object:
    if isinstance(value, str):
        return tuple(part.strip() for part in value.split(",") if part.strip())
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
    # It goes into the page's Content-Security-Policy.
    if re.search(r"[\s;,'\"]", value):
        raise ValueError("must have no spaces, commas, semicolons or quotes")
    return value


def cluster_nodes(redis_url: str) -> list[str]:
    """The nodes that a cluster's URL names, as URLs of servers; none if it is a server's own."""
    scheme, _, rest = redis_url.partition("://")
    if not scheme.endswith("+cluster"):
        return []
    authority, slash, more = rest.partition("/")
    credentials, at, places = authority.rpartition("@")
    plain = scheme.removesuffix("+cluster")
    return [f"{plain}://{credentials}{at}{place}{slash}{more}" for place in places.split(",")]


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
Networks = Annotated[Names, AfterValidator(_networks)]
ProviderNames = Annotated[Names, AfterValidator(_known_providers)]
Secret = Annotated[SecretStr, Field(min_length=32)]
UnitPrice = Annotated[Decimal, Field(gt=0, max_digits=10, decimal_places=4)]
Energy = Annotated[Decimal, Field(max_digits=12, decimal_places=3)]


class _Part(BaseSettings):
    model_config = SettingsConfigDict(
        env_prefix="SOLARHUB_", env_file=".env", extra="ignore", frozen=True,
        env_ignore_empty=True, hide_input_in_errors=True,
    )  # fmt: skip


class DatabaseSettings(_Part):
    """`database_read_url`: a streaming replica of `database_url`, which the API may read from."""

    database_url: DatabaseUrl
    database_read_url: DatabaseUrl | None = None
    database_read_lag_max: Duration = timedelta(milliseconds=250)
    database_pool_max: int = Field(20, ge=1, le=1000)
    database_connect_timeout: Duration = timedelta(seconds=2)
    database_statement_timeout: Duration = timedelta(seconds=5)
    retention_raw: Duration = timedelta(days=90)
    late_horizon: Duration = timedelta(days=7)

    @field_validator("late_horizon")
    @classmethod
    def _raw_outlives_what_may_change(cls, value: timedelta, info: ValidationInfo) -> timedelta:
        """Late readings are told from duplicates, and aggregates made, by the raw data."""
        kept = info.data.get("retention_raw", timedelta.max)
        if value + timedelta(weeks=1) > kept:
            raise ValueError("must be at least 7d shorter than SOLARHUB_RETENTION_RAW")
        return value


class RoleSettings(_Part):
    """Passwords that `migrate` gives the processes' database roles, where they are to sign in."""

    database_password_api: Secret | None = None
    database_password_ingest: Secret | None = None
    database_password_relay: Secret | None = None
    database_password_realtime: Secret | None = None


class RedisSettings(_Part):
    """`redis_url` of a cluster names one or some of its nodes: `redis+cluster://a:6379,b:6379`."""

    redis_url: RedisUrl
    history_size: int = Field(10_000, ge=1, le=1_000_000)
    history_ttl: Duration = timedelta(hours=1)


class TokenSettings(_Part):
    jwt_secret: Secret
    access_token_ttl: Duration = timedelta(minutes=15)


class GridSettings(_Part):
    """`demand_max_kwh`: what one household counts for in the demand of a 15-minute slot."""

    grid_retail_price: UnitPrice = Decimal("8.0000")
    grid_export_price: UnitPrice = Decimal("3.0000")
    demand_max_kwh: Annotated[Energy, Field(gt=0)] = Decimal("10.000")

    @field_validator("grid_export_price")
    @classmethod
    def _grid_takes_more_than_it_pays(cls, value: Decimal, info: ValidationInfo) -> Decimal:
        """Local prices lie between the two."""
        if value >= info.data.get("grid_retail_price", Decimal("Infinity")):
            raise ValueError("must be lower than SOLARHUB_GRID_RETAIL_PRICE")
        return value


class SellingSettings(_Part):
    """What keeps devices from selling; the same for all processes."""

    capacity_max_w: float = Field(20_000, gt=0, le=1e9, allow_inf_nan=False)
    flags_pause_selling: bool = False

    @property
    def selling_rules(self) -> SellingRules:
        return SellingRules(self.capacity_max_w, self.flags_pause_selling)


class MarketSettings(GridSettings):
    """`purchase_min_kwh`: of a purchase that leaves something of its listing."""

    platform_fee_rate: Decimal = Field(Decimal("0.05"), ge=0, lt=1)
    purchase_min_kwh: Annotated[Energy, Field(ge=0)] = Decimal("0.100")


class MqttTrustSettings(_Part):
    """Whose certificates to believe, for the hub and for simulated devices."""

    mqtt_ca_file: str | None = None


class MqttSettings(MqttTrustSettings):
    """`mqtt_url` may carry the hub's own user name and password."""

    mqtt_url: MqttUrl


class IngestSettings(MqttSettings, GridSettings, SellingSettings):
    """`device_secret`, or `jwt_secret` in its place, is for the accounts of devices alone.

    `ingest_sessions`: how many a group keeps at the broker. `ingest_shared_subscription`: it shares
    subscriptions instead, at a broker that does not forget them when it restarts.
    """

    mqtt_dynamic_security: bool = True
    device_secret: Secret | None = None
    jwt_secret: Secret | None = None
    ingest_group: str | None = Field(None, pattern=r"^[A-Za-z0-9_-]{1,64}$")
    ingest_client_id: str = Field("solarhub-ingest", pattern=r"^[A-Za-z0-9_-]{1,64}$")
    ingest_sessions: int = Field(2, ge=1, le=16)
    ingest_shared_subscription: bool = False
    ingest_gone_after: Duration = timedelta(minutes=1)
    ingest_batch_max: int = Field(1000, ge=1, le=10_000)
    ingest_batch_age: Duration = timedelta(milliseconds=50)
    late_horizon: Duration = timedelta(days=7)
    offline_after: Duration = timedelta(minutes=5)


class PasswordSettings(_Part):
    bcrypt_rounds: int = Field(12, ge=4, le=16)


class PaymentSettings(_Part):
    """`payment_providers`: whose adapters run; without any, no money comes in or goes out."""

    payment_providers: ProviderNames = ()
    payment_webhook_secret: Secret | None = None


class QuotaSettings(_Part):
    """How much one user may have at a time, and change in how much time."""

    quota_devices: int = Field(100, ge=1, le=1_000_000)
    quota_open_listings: int = Field(200, ge=1, le=1_000_000)
    quota_payment_methods: int = Field(20, ge=1, le=1_000_000)
    quota_sessions: int = Field(100, ge=1, le=1_000_000)
    rate_limit_writes: Rate = "3000/minute"
    idempotency_ttl: Duration = timedelta(days=7)


class ApiSettings(
    TokenSettings,
    MarketSettings,
    PasswordSettings,
    PaymentSettings,
    QuotaSettings,
    SellingSettings,
):
    api_host: str = "127.0.0.1"
    api_port: Port = 8000
    public_url: HttpUrl = "http://127.0.0.1:8000"
    realtime_url: FeedUrl = "ws://127.0.0.1:8001/ws"
    mqtt_public_url: MqttUrl = "mqtt://127.0.0.1:1883"
    cors_origins: Names = ()
    trusted_proxies: Networks = ()
    refresh_token_ttl: Duration = timedelta(days=30)
    rate_limit_login: Rate = "10/minute"
    rate_limit_address: Rate | None = None
    payout_delay: DurationOrZero = timedelta(0)
    map_tiles_url: TilesUrl | None = None
    device_secret: Secret | None = None

    @property
    def sign_ins_per_address(self) -> str:
        """As it is set, else a default; for load tests it takes one setting to lift all limits."""
        if self.rate_limit_address is not None:
            return self.rate_limit_address
        return "off" if self.rate_limit_login == "off" else "100/minute"


class AdminSignInSettings(_Part):
    """An administrator's sign-in, for commands that act as one."""

    admin_email: str | None = None
    admin_password: SecretStr | None = Field(None, validate_default=True)

    @field_validator("admin_password")
    @classmethod
    def _goes_with_an_email(cls, value: SecretStr | None, info: ValidationInfo) -> SecretStr | None:
        if value is None and info.data.get("admin_email") is not None:
            raise ValueError("is required with SOLARHUB_ADMIN_EMAIL")
        return value


class RealtimeSettings(TokenSettings):
    realtime_host: str = "127.0.0.1"
    realtime_port: Port = 8001


class UpSettings(_Part):
    """What `up` runs or makes itself where nothing is set."""

    database_url: DatabaseUrl | None = None
    redis_url: RedisUrl | None = None
    mqtt_url: MqttUrl | None = None
    public_url: HttpUrl | None = None
    realtime_url: FeedUrl | None = None
    mqtt_public_url: MqttUrl | None = None
    jwt_secret: Secret | None = None
    payment_providers: ProviderNames | None = None
    payment_webhook_secret: Secret | None = None
    api_host: str = "127.0.0.1"
    api_port: Port = 8000
    realtime_host: str = "127.0.0.1"
    realtime_port: Port = 8001
    mqtt_host: str = "127.0.0.1"
    mqtt_port: Port = 1883


class MetricsSettings(_Part):
    """Where ingest and relay, which serve nothing else, serve their metrics; no port: nowhere."""

    metrics_host: str = "127.0.0.1"
    metrics_port: Port | None = None


class LogSettings(_Part):
    log_level: Literal["debug", "info", "warning", "error"] = "info"
    log_format: Literal["console", "json"] = "console"


PartT = TypeVar("PartT", bound=_Part)


def load(part: type[PartT], **overrides: Any) -> PartT:
    """Read one part's settings; `overrides` win over the environment. Raises SettingError."""
    try:
        return part(**overrides)
    except ValidationError as error:
        lines = [
            f"{variable(str(e['loc'][0]))}: {_allowed(e['type'], e['msg'])}" for e in error.errors()
        ]
        raise SettingError("; ".join(lines)) from None


def variable(field: str) -> str:
    """The environment variable of a setting."""
    return f"SOLARHUB_{field.upper()}"


def _allowed(kind: str, message: str) -> str:
    if kind == "missing":
        return "is required and not set"
    message = message.removeprefix("Value error, ").removeprefix("Input ")
    return message[:1].lower() + message[1:]


def near(host: str) -> str:
    """How a server that listens on `host` is reached from its own machine."""
    return "127.0.0.1" if host in ("", "0.0.0.0", "::") else host  # noqa: S104 - not bound to
