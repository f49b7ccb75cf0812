"""The command `doctor`: shows what is configured, reachable and missing, but never a secret."""

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
from db.errors import UnknownRevision, database_errors
from db.pool import open_connection
from db.server import POSTGRESQL_MIN, describe
from solarhub import run_file

_CONNECT_WITHIN_S = 3.0
_EXTRAS = {"embedded": "amqtt", "simulators": "pvlib", "bench": "matplotlib"}


class FindingState(StrEnum):
    """The first column of a line. `BAD` makes the command fail; `NOTE` is for information."""

    GOOD = "ok"
    BAD = "BAD"
    NOTE = "--"


@dataclass(frozen=True, slots=True)
class DoctorFinding:
    """One line of the report: the state of a subject."""

    state: FindingState
    subject: str
    message: str


async def examine(data: Path) -> bool:
    """Print each finding as it is made. Return whether none of them is bad."""
    healthy = True
    async for finding in _findings(data):
        healthy = healthy and finding.state is not FindingState.BAD
        sys.stdout.write(f"{finding.state:<4} {finding.subject:<10} {finding.message}\n")
        sys.stdout.flush()
    return healthy


async def _findings(data: Path) -> AsyncIterator[DoctorFinding]:
    yield DoctorFinding(FindingState.GOOD, "Python", sys.version.split()[0])
    for extra, module in _EXTRAS.items():
        installed = find_spec(module) is not None
        message = "installed" if installed else f"not installed: pip install 'solarhub[{extra}]'"
        yield DoctorFinding(FindingState.GOOD if installed else FindingState.NOTE, extra, message)
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
            acts_as = await roles.available(conn)
    except SettingError as error:
        return DoctorFinding(FindingState.BAD, "database", str(error))
    except database_errors() as error:
        return DoctorFinding(FindingState.BAD, "database", f"{error} (SOLARHUB_DATABASE_URL)")
    timescale = f"TimescaleDB {server.timescaledb}" if server.timescaledb else "no TimescaleDB"
    message = f"PostgreSQL {server.version}, {timescale}, schema {revision or 'empty'}"
    if server.major < POSTGRESQL_MIN:
        message = f"PostgreSQL {server.version}: at least {POSTGRESQL_MIN} is needed"
        return DoctorFinding(FindingState.BAD, "database", message)
    try:
        schema.check_is_known(revision)
    except UnknownRevision as error:
        return DoctorFinding(FindingState.BAD, "database", str(error))
    if revision != schema.newest_revision():
        return DoctorFinding(FindingState.BAD, "database", f"{message}: run `solarhub migrate`")
    if not acts_as:
        message += f": its user may act as none of {', '.join(roles.ALL)} (SOLARHUB_DATABASE_URL)"
        return DoctorFinding(FindingState.BAD, "database", message)
    return DoctorFinding(FindingState.GOOD, "database", f"{message}, for {', '.join(acts_as)}")


async def _replica() -> DoctorFinding:
    """Check that the replica streams from the database, as the API does before it reads there."""
    try:
        settings = load(DatabaseSettings)
        if settings.database_read_url is None:
            return DoctorFinding(
                FindingState.NOTE, "replica", "none: the database serves all reads"
            )
        own = settings.model_copy(update={"database_url": settings.database_read_url})
        async with (
            open_connection(settings, application_name="doctor") as primary,
            open_connection(own, application_name="doctor") as replica,
        ):
            same = await replicas.identity(primary) == await replicas.identity(replica)
            written, replayed = await replicas.written(primary), await replicas.replayed(replica)
    except database_errors(SettingError) as error:
        return DoctorFinding(FindingState.BAD, "replica", f"{error} (SOLARHUB_DATABASE_READ_URL)")
    if not same or replayed is None:
        message = "not a streaming replica of the database (SOLARHUB_DATABASE_READ_URL)"
        return DoctorFinding(FindingState.BAD, "replica", message)
    behind = max(0, written - replayed)
    return DoctorFinding(FindingState.GOOD, "replica", f"streams, {behind:,} bytes behind")


async def _redis() -> DoctorFinding:
    try:
        redis_url = load(RedisSettings).redis_url
    except SettingError as error:
        return DoctorFinding(FindingState.BAD, "Redis", str(error))
    for server in map(urlsplit, cluster_nodes(redis_url) or [redis_url]):
        address = (server.path,) if server.scheme == "unix" else _address(server, 6379)
        finding = await _listens("Redis", *address)
        if finding.state is FindingState.GOOD:
            break  # one node is enough: clients learn the others from it
    return finding


async def _mqtt() -> DoctorFinding:
    try:
        url = urlsplit(load(MqttSettings).mqtt_url)
    except SettingError as error:
        return DoctorFinding(FindingState.BAD, "MQTT", str(error))
    default = 8883 if url.scheme == "mqtts" else 1883
    return await _listens("MQTT", *_address(url, default))


def _address(url: SplitResult, default_port: int) -> tuple[str, int]:
    return url.hostname or "127.0.0.1", url.port or default_port


async def _accounts() -> DoctorFinding:
    """Check that the hub can connect to the broker, and may manage devices' broker accounts."""
    from ingest.broker_accounts.dynamic_security import (
        BrokerUnreachable,
        CommandRefused,
        PluginUnavailable,
        count_accounts,
    )

    try:
        count = await count_accounts(load(MqttSettings))
    except PluginUnavailable:
        message = "no dynamic security: the broker itself must authenticate devices"
        return DoctorFinding(FindingState.NOTE, "accounts", message)
    except (BrokerUnreachable, CommandRefused, SettingError, TimeoutError) as error:
        return DoctorFinding(
            FindingState.BAD, "accounts", f"{error or 'timeout'} (SOLARHUB_MQTT_URL)"
        )
    return DoctorFinding(
        FindingState.GOOD, "accounts", f"dynamic security answers: {count:,} accounts"
    )


async def _listens(subject: str, host: str, port: int | None = None) -> DoctorFinding:
    """Check that a server accepts connections at a port, or at a Unix socket without `port`."""
    address = host if port is None else f"{host}:{port}"
    opening = (
        asyncio.open_unix_connection(host) if port is None else asyncio.open_connection(host, port)
    )
    try:
        _, writer = await asyncio.wait_for(opening, _CONNECT_WITHIN_S)
    except (OSError, TimeoutError) as error:
        message = f"{address} does not answer: {error or 'timeout'}"
        setting = f"SOLARHUB_{subject.upper()}_URL"
        return DoctorFinding(FindingState.BAD, subject, f"{message} ({setting})")
    writer.close()
    with suppress(OSError):
        await writer.wait_closed()
    return DoctorFinding(FindingState.GOOD, subject, f"{address} answers")


def _secrets() -> DoctorFinding:
    try:
        load(TokenSettings)
        webhook = load(PaymentSettings).payment_webhook_secret
    except SettingError as error:
        return DoctorFinding(FindingState.BAD, "secrets", str(error))
    message = "set" if webhook else "set; without a webhook secret no payment webhook is accepted"
    return DoctorFinding(FindingState.GOOD, "secrets", message)


def _payments() -> DoctorFinding:
    try:
        names = load(PaymentSettings).payment_providers
    except SettingError as error:
        return DoctorFinding(FindingState.BAD, "payments", str(error))
    if not names:
        message = "no provider: top-ups and withdrawals are refused (SOLARHUB_PAYMENT_PROVIDERS)"
        return DoctorFinding(FindingState.NOTE, "payments", message)
    if "sandbox" in names:
        return DoctorFinding(
            FindingState.NOTE, "payments", "sandbox: accepts every payment, without moving money"
        )
    return DoctorFinding(FindingState.GOOD, "payments", ", ".join(names))
