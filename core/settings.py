"""Every setting, in small frozen classes: one per process or concern.

`load` reads them from environment variables `SOLARHUB_…` and a `.env` file. A wrong value raises
`SettingError`, which names the variable and the allowed values. It never shows the value, which may
be a secret. `check_names` refuses variables that no setting reads, which may be misspelt.
"""

from collections.abc import Iterable, Iterator
from datetime import timedelta
from decimal import Decimal
from difflib import get_close_matches
from typing import Annotated, Any, Literal, TypeVar

from pydantic import Field, SecretStr, ValidationError, ValidationInfo, field_validator
from pydantic_settings import BaseSettings, SettingsConfigDict

from core.selling import SellingRules
from core.setting_types import (
    DatabaseUrl,
    Duration,
    DurationOrZero,
    Energy,
    FeedUrl,
    HttpUrl,
    MqttUrl,
    Networks,
    Origins,
    Port,
    ProviderNames,
    Rate,
    RedisUrl,
    Secret,
    TilesUrl,
    UnitPrice,
)
from core.setting_types import cluster_nodes as cluster_nodes

_PREFIX = "SOLARHUB_"
# Variables of the Makefile, and of tests and benchmarks, which are no settings of the hub.
_OTHER_VARIABLES = frozenset({"SOLARHUB_DEMO_SINCE", "SOLARHUB_REQUIRE"})
_FREE_PREFIXES = ("SOLARHUB_TEST_", "SOLARHUB_BENCH_", "SOLARHUB_CONTRACT_")


class SettingError(Exception):
    """A missing or wrong setting; the message names it and the allowed values."""


class _SettingsPart(BaseSettings):
    model_config = SettingsConfigDict(
        env_prefix=_PREFIX, env_file=".env", extra="ignore", frozen=True,
        env_ignore_empty=True, hide_input_in_errors=True,
    )  # fmt: skip


class DatabaseSettings(_SettingsPart):
    """The database, the limits of its connections, and retention."""

    database_url: DatabaseUrl
    # A streaming replica of `database_url` that the API may read from.
    database_read_url: DatabaseUrl | None = None
    database_read_lag_max: Duration = timedelta(milliseconds=250)
    database_pool_max: int = Field(20, ge=1, le=1000)
    database_connect_timeout: Duration = timedelta(seconds=2)
    database_statement_timeout: Duration = timedelta(seconds=5)
    retention_raw: Duration = timedelta(days=90)
    late_horizon: Duration = timedelta(days=7)

    @field_validator("late_horizon")
    @classmethod
    def _raw_data_outlives_late_readings(cls, value: timedelta, info: ValidationInfo) -> timedelta:
        """Reject a horizon beyond which raw data no longer shows duplicates of late readings."""
        retained = info.data.get("retention_raw", timedelta.max)
        if value + timedelta(weeks=1) > retained:
            raise ValueError("must be at least 7d shorter than SOLARHUB_RETENTION_RAW")
        return value


class RoleSettings(_SettingsPart):
    """Passwords that `migrate` sets for the database roles; a role without one can't sign in."""

    database_password_api: Secret | None = None
    database_password_ingest: Secret | None = None
    database_password_relay: Secret | None = None
    database_password_realtime: Secret | None = None


class RedisSettings(_SettingsPart):
    """Redis, and the history that the live feed keeps there."""

    # The URL of a cluster names one or more of its nodes: `redis+cluster://a:6379,b:6379`.
    redis_url: RedisUrl
    history_size: int = Field(10_000, ge=1, le=1_000_000)
    history_ttl: Duration = timedelta(hours=1)


class TokenSettings(_SettingsPart):
    jwt_secret: Secret
    access_token_ttl: Duration = timedelta(minutes=15)


class GridSettings(_SettingsPart):
    """The grid's prices, INR per kWh, and the demand that local prices are computed from."""

    grid_retail_price: UnitPrice = Decimal("8.0000")
    grid_export_price: UnitPrice = Decimal("3.0000")
    # The largest demand of one household in a 15-minute slot.
    demand_max_kwh: Annotated[Energy, Field(gt=0)] = Decimal("10.000")

    @field_validator("grid_export_price")
    @classmethod
    def _is_below_retail_price(cls, value: Decimal, info: ValidationInfo) -> Decimal:
        """Reject an export price that leaves no room for local prices below the retail price."""
        if value >= info.data.get("grid_retail_price", Decimal("Infinity")):
            raise ValueError("must be lower than SOLARHUB_GRID_RETAIL_PRICE")
        return value


class SellingSettings(_SettingsPart):
    """Rules that keep devices from selling; all processes need the same."""

    capacity_max_w: float = Field(20_000, gt=0, le=1e9, allow_inf_nan=False)
    flags_pause_selling: bool = False

    @property
    def selling_rules(self) -> SellingRules:
        return SellingRules(self.capacity_max_w, self.flags_pause_selling)


class MarketSettings(GridSettings):
    """The platform's fee, and the smallest purchase."""

    platform_fee_rate: Decimal = Field(Decimal("0.05"), ge=0, lt=1)
    # Applies to purchases that leave energy in their listing.
    purchase_min_kwh: Annotated[Energy, Field(ge=0)] = Decimal("0.100")


class MqttTrustSettings(_SettingsPart):
    """Certificates that the hub and simulated devices trust at the broker."""

    mqtt_ca_file: str | None = None


class MqttSettings(MqttTrustSettings):
    """The MQTT broker."""

    # May contain the hub's own user name and password.
    mqtt_url: MqttUrl


class IngestSettings(MqttSettings, GridSettings, SellingSettings):
    """The ingest process: broker accounts, sessions of its group, batches."""

    mqtt_dynamic_security: bool = True
    # Passwords of devices derive from `device_secret`, or from `jwt_secret` where it is not set.
    device_secret: Secret | None = None
    jwt_secret: Secret | None = None
    ingest_group: str | None = Field(None, pattern=r"^[A-Za-z0-9_-]{1,64}$")
    ingest_client_id: str = Field("solarhub-ingest", pattern=r"^[A-Za-z0-9_-]{1,64}$")
    # Number of persistent sessions of a group at the broker.
    ingest_sessions: int = Field(2, ge=1, le=16)
    # Share subscriptions instead, at a broker that keeps them over its restart.
    ingest_shared_subscription: bool = False
    ingest_gone_after: Duration = timedelta(minutes=1)
    ingest_batch_max: int = Field(1000, ge=1, le=10_000)
    ingest_batch_age: Duration = timedelta(milliseconds=50)
    late_horizon: Duration = timedelta(days=7)
    offline_after: Duration = timedelta(minutes=5)


class PasswordSettings(_SettingsPart):
    bcrypt_rounds: int = Field(12, ge=4, le=16)


class PaymentSettings(_SettingsPart):
    """Payment providers; without any, no money comes in or goes out."""

    payment_providers: ProviderNames = ()
    payment_webhook_secret: Secret | None = None


class QuotaSettings(_SettingsPart):
    """Limits of one user: objects at a time, and writes per time."""

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
    cors_origins: Origins = ()
    trusted_proxies: Networks = ()
    refresh_token_ttl: Duration = timedelta(days=30)
    rate_limit_login: Rate = "10/minute"
    rate_limit_address: Rate | None = None
    payout_delay: DurationOrZero = timedelta(0)
    map_tiles_url: TilesUrl | None = None
    # CO₂ that the grid emits. India's emitted 727 g per kWh on average in 2023-24: Central
    # Electricity Authority, CO2 Baseline Database for the Indian Power Sector, version 20.
    grid_co2_g_per_kwh: Annotated[Decimal, Field(ge=0, le=10_000)] = Decimal(700)
    device_secret: Secret | None = None

    @property
    def sign_ins_per_address(self) -> str:
        """The limit of sign-ins per address. Load tests lift it with `rate_limit_login=off`."""
        if self.rate_limit_address is not None:
            return self.rate_limit_address
        return "off" if self.rate_limit_login == "off" else "100/minute"


class AdminSignInSettings(_SettingsPart):
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


class UpSettings(_SettingsPart):
    """Settings of `up`, which starts or generates everything that is not set."""

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


class MetricsSettings(_SettingsPart):
    """The address at which ingest and relay serve metrics; without a port they serve none."""

    metrics_host: str = "127.0.0.1"
    metrics_port: Port | None = None


class LogSettings(_SettingsPart):
    log_level: Literal["debug", "info", "warning", "error"] = "info"
    log_format: Literal["console", "json"] = "console"


PartT = TypeVar("PartT", bound=_SettingsPart)


def load(part: type[PartT], **overrides: Any) -> PartT:
    """Read one part's settings; `overrides` win over the environment. Raises SettingError."""
    try:
        return part(**overrides)
    except ValidationError as error:
        lines = [
            f"{variable(str(e['loc'][0]))}: {_allowed(e['type'], e['msg'])}" for e in error.errors()
        ]
        raise SettingError("; ".join(lines)) from None


def check_names(names: Iterable[str]) -> None:
    """Raise SettingError for a name with the prefix of settings that no setting has."""
    known = {variable(field) for part in _parts(_SettingsPart) for field in part.model_fields}
    for name in sorted(names):
        if name.startswith(_PREFIX) and name not in known | _OTHER_VARIABLES:
            if name.startswith(_FREE_PREFIXES):
                continue
            nearest = get_close_matches(name, known, n=1)
            hint = f"did you mean {nearest[0]}?" if nearest else "see docs/operations/settings.md"
            raise SettingError(f"{name} is no setting: {hint}")


def _parts(part: type[_SettingsPart]) -> Iterator[type[_SettingsPart]]:
    yield part
    for subclass in part.__subclasses__():
        yield from _parts(subclass)


def variable(field: str) -> str:
    """Return the environment variable of a setting."""
    return f"{_PREFIX}{field.upper()}"


def _allowed(kind: str, message: str) -> str:
    if kind == "missing":
        return "is required and not set"
    message = message.removeprefix("Value error, ").removeprefix("Input ")
    return message[:1].lower() + message[1:]


def loopback_of(host: str) -> str:
    """Return the host at which this machine reaches a server that listens on `host`."""
    return "127.0.0.1" if host in ("", "0.0.0.0", "::") else host  # noqa: S104 - not bound to
