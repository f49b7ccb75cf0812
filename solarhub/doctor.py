"""`solarhub doctor`: what is configured, reachable and missing. No secret is ever shown."""

import asyncio
import sys
from collections.abc import AsyncIterator
from contextlib import suppress
from dataclasses import dataclass
from enum import StrEnum
from importlib.util import find_spec
from pathlib import Path
from urllib.parse import SplitResult, urlsplit

from core.settings import (
    DatabaseSettings,
    MqttSettings,
    PaymentSettings,
    RedisSettings,
    SettingError,
    TokenSettings,
    cluster_nodes,
    load,
)
from db import replicas, roles, schema
from db.errors import DATABASE_ERRORS, UNAVAILABLE
from db.pool import open_connection
from db.server import describe
from solarhub import run_file

_CONNECT_WITHIN_S = 3.0
_EXTRAS = {"embedded": "amqtt", "simulators": "pvlib", "bench": "matplotlib"}


class FindingState(StrEnum):
    GOOD = "ok"
    BAD = "BAD"
    NOTE = "--"


@dataclass(frozen=True, slots=True)
class DoctorFinding:
    state: FindingState
    what: str
    told: str


async def examine(data: Path) -> bool:
    """Print what is found, as it is found. Whether nothing is amiss."""
    sound = True
    async for finding in _findings(data):
        sound = sound and finding.state is not FindingState.BAD
        sys.stdout.write(f"{finding.state:<4} {finding.what:<10} {finding.told}\n")
        sys.stdout.flush()
    return sound


async def _findings(data: Path) -> AsyncIterator[DoctorFinding]:
    yield DoctorFinding(FindingState.GOOD, "Python", sys.version.split()[0])
    for extra, module in _EXTRAS.items():
        there = find_spec(module) is not None
        told = "installed" if there else f"not installed: pip install 'solarhub[{extra}]'"
        yield DoctorFinding(FindingState.GOOD if there else FindingState.NOTE, extra, told)
    run = run_file.find(data)
    yield DoctorFinding(
        FindingState.NOTE, "up", f"runs on {data}" if run else f"does not run on {data}"
    )
    yield await _database()
    yield await _replica()
    yield await _redis()
    yield await _mqtt()
    yield await _accounts()
    yield _secrets()
    yield _payments()


async def _database() -> DoctorFinding:
    try:
        settings = load(DatabaseSettings)
        async with open_connection(settings, application_name="doctor") as conn:
            server, revision = await describe(conn), await schema.current_revision(conn)
            acts_as = await roles.taken_by(conn)
    except SettingError as error:
        return DoctorFinding(FindingState.BAD, "database", str(error))
    except (*UNAVAILABLE, *DATABASE_ERRORS) as error:
        return DoctorFinding(FindingState.BAD, "database", f"{error} (SOLARHUB_DATABASE_URL)")
    timescale = f"TimescaleDB {server.timescaledb}" if server.timescaledb else "no TimescaleDB"
    told = f"PostgreSQL {server.version}, {timescale}, schema {revision or 'empty'}"
    if revision != schema.newest_revision():
        return DoctorFinding(FindingState.BAD, "database", f"{told}: run `solarhub migrate`")
    if not acts_as:
        told = f"{told}: its user may act as none of {', '.join(roles.ALL)} (SOLARHUB_DATABASE_URL)"
        return DoctorFinding(FindingState.BAD, "database", told)
    return DoctorFinding(FindingState.GOOD, "database", f"{told}, for {', '.join(acts_as)}")


async def _replica() -> DoctorFinding:
    """Whether it may answer for the database: the API asks the same."""
    try:
        settings = load(DatabaseSettings)
        if settings.database_read_url is None:
            return DoctorFinding(
                FindingState.NOTE, "replica", "none: the database answers everything"
            )
        own = settings.model_copy(update={"database_url": settings.database_read_url})
        async with (
            open_connection(settings, application_name="doctor") as primary,
            open_connection(own, application_name="doctor") as replica,
        ):
            same = await replicas.data(primary) == await replicas.data(replica)
            written, replayed = await replicas.written(primary), await replicas.replayed(replica)
    except (SettingError, *UNAVAILABLE, *DATABASE_ERRORS) as error:
        return DoctorFinding(FindingState.BAD, "replica", f"{error} (SOLARHUB_DATABASE_READ_URL)")
    if not same or replayed is None:
        told = "no streaming replica of the database (SOLARHUB_DATABASE_READ_URL)"
        return DoctorFinding(FindingState.BAD, "replica", told)
    behind = max(0, written - replayed)
    return DoctorFinding(FindingState.GOOD, "replica", f"streams, {behind:,} bytes behind")


async def _redis() -> DoctorFinding:
    try:
        redis_url = load(RedisSettings).redis_url
    except SettingError as error:
        return DoctorFinding(FindingState.BAD, "Redis", str(error))
    for server in map(urlsplit, cluster_nodes(redis_url) or [redis_url]):
        place = (server.path,) if server.scheme == "unix" else _place(server, 6379)
        finding = await _listens("Redis", *place)
        if finding.state is FindingState.GOOD:
            break  # any node of a cluster tells of the others
    return finding


async def _mqtt() -> DoctorFinding:
    try:
        url = urlsplit(load(MqttSettings).mqtt_url)
    except SettingError as error:
        return DoctorFinding(FindingState.BAD, "MQTT", str(error))
    default = 8883 if url.scheme == "mqtts" else 1883
    return await _listens("MQTT", *_place(url, default))


def _place(url: SplitResult, default_port: int) -> tuple[str, int]:
    return url.hostname or "127.0.0.1", url.port or default_port


async def _accounts() -> DoctorFinding:
    """Whether the hub gets into the broker, and may keep devices' accounts there."""
    from ingest.broker_accounts.dynamic_security import (
        BrokerAway,
        CommandRefused,
        NoPlugin,
        accounts_at,
    )

    try:
        count = await accounts_at(load(MqttSettings))
    except NoPlugin:
        told = "no dynamic security: the broker itself must know devices"
        return DoctorFinding(FindingState.NOTE, "accounts", told)
    except (BrokerAway, CommandRefused, SettingError, TimeoutError) as error:
        return DoctorFinding(
            FindingState.BAD, "accounts", f"{error or 'timeout'} (SOLARHUB_MQTT_URL)"
        )
    return DoctorFinding(
        FindingState.GOOD, "accounts", f"dynamic security answers: {count:,} accounts"
    )


async def _listens(what: str, place: str, port: int | None = None) -> DoctorFinding:
    """Whether somebody takes connections at a port, or at a Unix socket."""
    where = place if port is None else f"{place}:{port}"
    opening = (
        asyncio.open_unix_connection(place)
        if port is None
        else asyncio.open_connection(place, port)
    )
    try:
        _, writer = await asyncio.wait_for(opening, _CONNECT_WITHIN_S)
    except (OSError, TimeoutError) as error:
        told = f"{where} does not answer: {error or 'timeout'}"
        return DoctorFinding(FindingState.BAD, what, f"{told} (SOLARHUB_{what.upper()}_URL)")
    writer.close()
    with suppress(OSError):
        await writer.wait_closed()
    return DoctorFinding(FindingState.GOOD, what, f"{where} answers")


def _secrets() -> DoctorFinding:
    try:
        load(TokenSettings)
        webhook = load(PaymentSettings).payment_webhook_secret
    except SettingError as error:
        return DoctorFinding(FindingState.BAD, "secrets", str(error))
    told = "set" if webhook else "set; no payment webhook is believed without its secret"
    return DoctorFinding(FindingState.GOOD, "secrets", told)


def _payments() -> DoctorFinding:
    try:
        names = load(PaymentSettings).payment_providers
    except SettingError as error:
        return DoctorFinding(FindingState.BAD, "payments", str(error))
    if not names:
        told = "no provider: top-ups and withdrawals are refused (SOLARHUB_PAYMENT_PROVIDERS)"
        return DoctorFinding(FindingState.NOTE, "payments", told)
    if "sandbox" in names:
        return DoctorFinding(
            FindingState.NOTE, "payments", "sandbox: it agrees to everything, without money"
        )
    return DoctorFinding(FindingState.GOOD, "payments", ", ".join(names))
