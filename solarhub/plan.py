"""The parts that `up` runs and their settings; servers without a URL setting are embedded."""

from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

from core.settings import (
    ApiSettings,
    DatabaseSettings,
    IngestSettings,
    RealtimeSettings,
    RedisSettings,
    UpSettings,
    load,
    loopback_of,
)
from solarhub import embedded, ports
from solarhub.child import ChildProcess
from solarhub.keys import Keys
from solarhub.run_file import PROVIDERS_OF_UP, with_user, without_user


@dataclass(frozen=True, slots=True)
class EmbeddedBroker:
    """Address and hub password of the MQTT broker that runs inside the hub's process."""

    host: str
    port: int
    hub_password: str


@dataclass(frozen=True, slots=True)
class Plan:
    """Settings of every part."""

    database: DatabaseSettings
    redis: RedisSettings
    ingest: IngestSettings
    api: ApiSettings
    realtime: RealtimeSettings
    # None if SOLARHUB_MQTT_URL names an external broker.
    broker: EmbeddedBroker | None
    # Whether the database is embedded: it belongs to this hub alone.
    owns_database: bool
    # Embedded servers; if one ends, the hub ends.
    servers: Sequence[ChildProcess]


def make(data: Path, settings: UpSettings, keys: Keys, stack: ExitStack) -> Plan:
    """Start the embedded servers on `stack` and decide the settings of every part."""
    servers: list[ChildProcess] = []
    database_url, redis_url = settings.database_url, settings.redis_url
    if database_url is None:
        postgres = stack.enter_context(embedded.postgres(data / "postgres"))
        database_url = postgres.url
        servers.append(postgres.child)
    if redis_url is None:
        valkey = stack.enter_context(embedded.valkey(data / "valkey"))
        redis_url = valkey.url
        servers.append(valkey.child)
    broker = _broker(settings, keys)
    ingest = _ingest(settings, keys, broker)
    realtime = _realtime(settings, keys)
    return Plan(
        database=load(DatabaseSettings, database_url=database_url),
        redis=load(RedisSettings, redis_url=redis_url),
        ingest=ingest,
        api=_api(settings, keys, ingest, realtime),
        realtime=realtime,
        broker=broker,
        owns_database=settings.database_url is None,
        servers=servers,
    )


def _broker(settings: UpSettings, keys: Keys) -> EmbeddedBroker | None:
    if settings.mqtt_url is not None:
        return None
    port = ports.choose(settings, "mqtt_port", settings.mqtt_host)
    return EmbeddedBroker(settings.mqtt_host, port, keys.hub_password)


def _ingest(settings: UpSettings, keys: Keys, broker: EmbeddedBroker | None) -> IngestSettings:
    if broker is None:
        jwt_secret = settings.jwt_secret or keys.jwt_secret
        return load(IngestSettings, mqtt_url=settings.mqtt_url, jwt_secret=jwt_secret)
    url = with_user(f"mqtt://{loopback_of(broker.host)}:{broker.port}", "hub", broker.hub_password)
    return load(
        IngestSettings,
        mqtt_url=url,
        ingest_client_id=keys.ingest_client_id,
        # The embedded broker reads devices' credentials from the database.
        mqtt_dynamic_security=False,
    )


def _realtime(settings: UpSettings, keys: Keys) -> RealtimeSettings:
    port = ports.choose(settings, "realtime_port", settings.realtime_host)
    return load(
        RealtimeSettings, jwt_secret=settings.jwt_secret or keys.jwt_secret, realtime_port=port
    )


def _api(
    settings: UpSettings, keys: Keys, ingest: IngestSettings, realtime: RealtimeSettings
) -> ApiSettings:
    port = ports.choose(settings, "api_port", settings.api_host)
    feed = f"ws://{loopback_of(realtime.realtime_host)}:{realtime.realtime_port}/ws"
    return load(
        ApiSettings,
        jwt_secret=realtime.jwt_secret,
        payment_providers=settings.payment_providers or PROVIDERS_OF_UP,
        payment_webhook_secret=settings.payment_webhook_secret or keys.webhook_secret,
        api_port=port,
        public_url=settings.public_url or f"http://{loopback_of(settings.api_host)}:{port}",
        realtime_url=settings.realtime_url or feed,
        mqtt_public_url=without_user(settings.mqtt_public_url or ingest.mqtt_url),
    )
