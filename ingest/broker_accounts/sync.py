"""Keeps devices' accounts at Mosquitto in step with the database. Of many ingesters one does.

The broker's own list is what is compared with, so it matters to nobody what was missed: while the
hub was down, while the broker was away, when the broker has lost all. A notification says which
devices to compare, and these go first, whatever else there is to do; looking at all of them now
and then guarantees it.
"""

import asyncio
import time
from collections.abc import Collection, Iterable, Mapping, Sequence
from itertools import islice

import structlog

from core.enums import Queue
from core.ids import DeviceId
from core.settings import DatabaseSettings, IngestSettings
from db import device_credentials, failed_items, locks, roles
from db.device_credentials import Changes, DeviceAccess
from db.errors import DATABASE_ERRORS, UNAVAILABLE, mind_cancellation
from db.locks import AdvisoryLock
from db.pool import Connection, open_connection
from ingest.broker import BrokerEndpoint
from ingest.broker_accounts.commands import (
    BrokerAccount,
    BrokerAccountChange,
    KnownBrokerAccount,
    account_of,
    behind,
    due,
    due_of,
    shared_roles,
)
from ingest.broker_accounts.dynamic_security import CommandRefused, NoPlugin, Plugin, open_plugin
from ingest.metrics import IngestMetrics
from ingest.mqtt.connection import MqttError

_ASK_S = 5.0  # device_credentials.notice_death counts on it
_LOOK_AGAIN_S = 30.0
_LIST_AGAIN_S = 300.0
_LIST_AGAIN_AFTER_REFUSAL_S = 30.0
_STANDBY_S = 0.5
_RETRY_FIRST_S = 0.2
_RETRY_MAX_S = 10.0
_ASK_AGAIN_S = 30.0
_ANSWER_WITHIN_S = 15.0

# While the plugin works, the broker does nothing else, and who has just been registered waits; and
# before 2.1 it writes its whole file for each command. So a batch grows and shrinks to what it does
# in a fraction of a second.
_BATCH_FIRST, _BATCH_MIN, _BATCH_MAX = 16, 1, 256
_BATCH_SHORT_S, _BATCH_LONG_S = 0.2, 0.4

_PASSING = (MqttError, NoPlugin, CommandRefused, *UNAVAILABLE, *DATABASE_ERRORS)

_log = structlog.get_logger()


class BrokerAccountSync:
    def __init__(
        self,
        settings: IngestSettings,
        database: DatabaseSettings,
        secret: bytes,
        metrics: IngestMetrics,
    ) -> None:
        self._broker = BrokerEndpoint.of(settings)
        self._client_id = f"{settings.ingest_client_id}-accounts"
        self._database = database
        self._secret = secret
        self._metrics = metrics
        self._batch = _BATCH_FIRST

    async def run(self) -> None:
        """Keep accounts until cancelled, or stand by."""
        retry_in_s = _RETRY_FIRST_S
        while True:
            began = time.monotonic()
            try:
                await self._serve()
            except _PASSING as error:
                mind_cancellation(error)
                if time.monotonic() - began > _RETRY_MAX_S:
                    retry_in_s = _RETRY_FIRST_S
                if isinstance(error, NoPlugin):
                    retry_in_s = _ASK_AGAIN_S
                _log.warning("accounts_not_kept", error=_told(error), retry_in_s=retry_in_s)
            await asyncio.sleep(retry_in_s)
            retry_in_s = min(2 * retry_in_s, _RETRY_MAX_S)

    async def _serve(self) -> None:
        """Wait for the lock, then keep accounts until something is lost."""
        async with open_connection(
            self._database, application_name="accounts", role=roles.INGEST, has_timeout=True
        ) as conn:
            await device_credentials.notice_death(conn)
            while True:
                if await locks.try_lock(conn, AdvisoryLock.BROKER_ACCOUNTS):
                    break
                await asyncio.sleep(_STANDBY_S)
            async with (
                device_credentials.changes(conn) as changes,
                open_plugin(self._broker, self._client_id, _ANSWER_WITHIN_S) as plugin,
            ):
                await self._keep(conn, plugin, changes)

    async def _keep(self, conn: Connection, plugin: Plugin, changes: Changes) -> None:
        for name, acls in shared_roles(patterns=plugin.patterns).items():
            await plugin.settle_role(name, acls)
        while True:
            known = await plugin.known()
            known.alone |= await failed_items.set_aside(conn, Queue.BROKER_ACCOUNTS)
            _log.info("accounts_listed", accounts=len(known.marks))
            listed_at = time.monotonic()
            while time.monotonic() - listed_at < _listing_holds_s(known):
                await self._keep_up(conn, plugin, changes, known)

    async def _keep_up(
        self, conn: Connection, plugin: Plugin, changes: Changes, known: KnownBrokerAccount
    ) -> None:
        """Look at all, then for a while at what changes; in between, a batch of what is left."""
        changes.take()
        wanted = _accounts(await device_credentials.all_access(conn), plugin, known)
        looked_at = time.monotonic()
        while time.monotonic() - looked_at < _LOOK_AGAIN_S:
            changed = changes.take()
            if changed is None:
                return
            wanted = await _looked_again(conn, plugin, wanted, changed, known)
            stop_first = sorted(map(str, changed), key=wanted.__contains__)
            first = due_of(stop_first, wanted, known, self._secret)
            await self._change_some(conn, plugin, first, known)
            some = await self._change_some(conn, plugin, due(wanted, known, self._secret), known)
            self._metrics.accounts.set(len(wanted))
            self._metrics.accounts_behind.set(behind(wanted, known))
            if not some:
                await changes.wait(_ASK_S)

    async def _change_some(
        self,
        conn: Connection,
        plugin: Plugin,
        due: Iterable[BrokerAccountChange],
        known: KnownBrokerAccount,
    ) -> bool:
        """Carry out a batch of what is due, if anything is. What fails is left alone for now."""
        batch = list(islice(due, self._batch))
        if batch:
            failed = await self._carry_out(conn, plugin, batch, known)
            known.alone |= failed.keys()
            await _note(conn, batch, failed)
        return bool(batch)

    async def _carry_out(
        self,
        conn: Connection,
        plugin: Plugin,
        batch: Sequence[BrokerAccountChange],
        known: KnownBrokerAccount,
    ) -> dict[str, str]:
        """Change accounts; returns the errors of those that were not, by user name.

        Where the plugin is silent about a batch, but not about itself, it is asked for halves, down
        to the one that it does not answer to. Raises TimeoutError where it is silent about all.
        """
        began = time.monotonic()
        try:
            answers = iter(await plugin.ask([c for change in batch for c in change.commands]))
        except (TimeoutError, CommandRefused) as error:
            await plugin.meet()
            await device_credentials.show_life(conn)
            if len(batch) == 1:
                return {batch[0].username: _told(error)}
            half = len(batch) // 2
            self._batch = max(half, _BATCH_MIN)
            first = await self._carry_out(conn, plugin, batch[:half], known)
            return first | await self._carry_out(conn, plugin, batch[half:], known)
        took_s = time.monotonic() - began
        failed: dict[str, str] = {}
        for change in batch:
            refusal = change.answered(islice(answers, len(change.commands)), known)
            if refusal is not None:
                failed[change.username] = refusal
        self._adapt(len(batch), took_s)
        return failed

    def _adapt(self, changes: int, took_s: float) -> None:
        self._metrics.account_changes.inc(changes)
        if took_s < _BATCH_SHORT_S and changes == self._batch:
            self._batch = min(2 * self._batch, _BATCH_MAX)
        elif took_s > _BATCH_LONG_S:
            self._batch = max(self._batch // 2, _BATCH_MIN)


async def _note(
    conn: Connection, batch: Sequence[BrokerAccountChange], failed: Mapping[str, str]
) -> None:
    """Keep what failed for administrators; tried again a while later, some times."""
    for username, error in failed.items():
        set_aside = await failed_items.note(conn, Queue.BROKER_ACCOUNTS, username, error)
        _log.error("account_not_changed", username=username, error=error, set_aside=set_aside)
    done = [change.username for change in batch if change.username not in failed]
    await failed_items.forget(conn, Queue.BROKER_ACCOUNTS, done)


def _accounts(
    devices: Iterable[DeviceAccess], plugin: Plugin, known: KnownBrokerAccount
) -> dict[str, BrokerAccount]:
    """By user name, in the same order."""
    accounts = {}
    for device in devices:
        account = account_of(device, patterns=plugin.patterns)
        if account is None:
            known.alone.add(str(device.id))
        else:
            accounts[account.username] = account
    return accounts


async def _looked_again(
    conn: Connection,
    plugin: Plugin,
    wanted: dict[str, BrokerAccount],
    changed: Collection[DeviceId],
    known: KnownBrokerAccount,
) -> dict[str, BrokerAccount]:
    """What is wanted now that these have changed; they come first."""
    found = await device_credentials.access_of(conn, list(changed))
    if not changed:
        return wanted
    names = {str(device_id) for device_id in changed}
    # What has changed may go well now.
    await failed_items.forget(conn, Queue.BROKER_ACCOUNTS, names)
    known.alone -= names
    anew = _accounts(found.values(), plugin, known)
    return anew | {name: account for name, account in wanted.items() if name not in names}


def _listing_holds_s(known: KnownBrokerAccount) -> float:
    """How long what the broker listed is relied on; what it refused is tried again soon."""
    return _LIST_AGAIN_AFTER_REFUSAL_S if known.alone else _LIST_AGAIN_S


def _told(error: Exception) -> str:
    if isinstance(error, NoPlugin):
        return "the broker's dynamic-security plugin does not answer the hub's user"
    return str(error) or repr(error)
