"""The task that keeps devices' broker accounts at Mosquitto in step with the database.

It compares the accounts that devices should have with the broker's own list, so changes that were
missed during an outage need no record. A notification of the database names the devices to compare
first, before any backlog; a periodic comparison of all devices covers lost notifications.
"""

import asyncio
import time
from collections.abc import Collection, Iterable, Mapping, Sequence
from itertools import islice

import structlog

from core.enums import Queue
from core.ids import DeviceId
from core.retry import Backoff
from core.settings import DatabaseSettings, IngestSettings
from db import device_credentials, failed_items, locks, roles
from db.device_credentials import AccessChanges, DeviceAccess
from db.errors import database_errors
from db.locks import AdvisoryLock
from db.pool import Connection, open_connection
from ingest.broker import BrokerEndpoint
from ingest.broker_accounts.commands import (
    BrokerAccount,
    BrokerAccountChange,
    ListedAccounts,
    account_of,
    changes_of,
    count_outdated,
    pending_changes,
    shared_roles,
)
from ingest.broker_accounts.dynamic_security import (
    CommandRefused,
    DynamicSecurityClient,
    PluginUnavailable,
    connect_plugin,
)
from ingest.metrics import IngestMetrics
from ingest.mqtt.connection import MqttError

# The server ends the connection, and with it the lock, after 20 s without a statement
# (`device_credentials.set_timeouts`). This interval must stay well below that.
_POLL_S = 5.0
_COMPARE_ALL_EVERY_S = 30.0
_LIST_EVERY_S = 300.0
# An account that the broker refused is tried again after the next listing.
_LIST_EVERY_AFTER_REFUSAL_S = 30.0
_LOCK_RETRY_S = 0.5
_RETRY_FIRST_S = 0.2
_RETRY_MAX_S = 10.0
_RETRY_WITHOUT_PLUGIN_S = 30.0
_ANSWER_TIMEOUT_S = 15.0

# While the plugin executes a batch, the broker does nothing else: publishing devices and newly
# registered ones wait. Before 2.1 it also writes its whole file for each command. So the batch size
# adapts to what the plugin executes in a fraction of a second.
_BATCH_FIRST, _BATCH_MIN, _BATCH_MAX = 16, 1, 256
_BATCH_SHORT_S, _BATCH_LONG_S = 0.2, 0.4

_log = structlog.get_logger()


class BrokerAccountSync:
    """Synchronizes devices' broker accounts for as long as `run` runs.

    Every ingester may run one: an advisory lock lets one of them work, and another continues when
    that one stops or loses its connection.
    """

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
        self._batch_size = _BATCH_FIRST

    async def run(self) -> None:
        """Synchronize accounts, or wait for the lock to do so, until cancelled."""
        backoff = Backoff(_RETRY_FIRST_S, _RETRY_MAX_S)
        while True:
            began = time.monotonic()
            try:
                await self._run_once()
            except database_errors(MqttError, PluginUnavailable, CommandRefused) as error:
                if time.monotonic() - began > _RETRY_MAX_S:
                    backoff.reset()
                if isinstance(error, PluginUnavailable):
                    backoff.delay_s = _RETRY_WITHOUT_PLUGIN_S
                _log.warning(
                    "broker_accounts_not_synced",
                    error=_text_of(error),
                    retry_in_s=backoff.delay_s,
                )
            await asyncio.sleep(backoff.next_s())

    async def _run_once(self) -> None:
        """Wait for the lock, then synchronize until the database or the broker is lost."""
        async with open_connection(
            self._database, application_name="accounts", role=roles.INGEST, has_timeout=True
        ) as conn:
            await device_credentials.set_timeouts(conn)
            while True:
                if await locks.try_lock(conn, AdvisoryLock.BROKER_ACCOUNTS):
                    break
                await asyncio.sleep(_LOCK_RETRY_S)
            async with (
                device_credentials.changes(conn) as changes,
                connect_plugin(self._broker, self._client_id, _ANSWER_TIMEOUT_S) as plugin,
            ):
                await self._synchronize(conn, plugin, changes)

    async def _synchronize(
        self, conn: Connection, plugin: DynamicSecurityClient, changes: AccessChanges
    ) -> None:
        for name, acls in shared_roles(username_patterns=plugin.username_patterns).items():
            await plugin.ensure_role(name, acls)
        while True:
            listed = await plugin.list_accounts()
            listed.skipped |= await failed_items.set_aside(conn, Queue.BROKER_ACCOUNTS)
            _log.info("broker_accounts_listed", accounts=len(listed.marks))
            listed_at = time.monotonic()
            while time.monotonic() - listed_at < _listing_valid_s(listed):
                await self._compare_all(conn, plugin, changes, listed)

    async def _compare_all(
        self,
        conn: Connection,
        plugin: DynamicSecurityClient,
        changes: AccessChanges,
        listed: ListedAccounts,
    ) -> None:
        """Compare all devices once, then for a while those that change.

        Between two batches of the backlog, devices that have just changed are compared and changed
        first: a revoked password must not wait behind thousands of new accounts.
        """
        changes.take()
        wanted = _accounts(await device_credentials.all_access(conn), plugin, listed)
        compared_at = time.monotonic()
        while time.monotonic() - compared_at < _COMPARE_ALL_EVERY_S:
            changed = changes.take()
            if changed is None:
                return  # Too many have changed to name them: compare all again.
            wanted = await _refresh(conn, plugin, wanted, changed, listed)
            # False sorts first: devices without an account any more come before the others.
            revoked_first = sorted(map(str, changed), key=wanted.__contains__)
            urgent = changes_of(revoked_first, wanted, listed, self._secret)
            await self._apply_batch(conn, plugin, urgent, listed)
            backlog = pending_changes(wanted, listed, self._secret)
            has_more = await self._apply_batch(conn, plugin, backlog, listed)
            self._metrics.broker_accounts.set(len(wanted))
            self._metrics.broker_accounts_behind.set(count_outdated(wanted, listed))
            if not has_more:
                await changes.wait(_POLL_S)

    async def _apply_batch(
        self,
        conn: Connection,
        plugin: DynamicSecurityClient,
        pending: Iterable[BrokerAccountChange],
        listed: ListedAccounts,
    ) -> bool:
        """Apply the first of these changes, and return whether there were any.

        Accounts that fail are recorded, and skipped until the next listing.
        """
        batch = list(islice(pending, self._batch_size))
        if batch:
            failed = await self._apply(conn, plugin, batch, listed)
            listed.skipped |= failed.keys()
            await _record(conn, batch, failed)
        return bool(batch)

    async def _apply(
        self,
        conn: Connection,
        plugin: DynamicSecurityClient,
        batch: Sequence[BrokerAccountChange],
        listed: ListedAccounts,
    ) -> dict[str, str]:
        """Send changes to the plugin and return the errors of those that failed, by user name.

        If the plugin does not answer the batch but answers a probe, the batch is halved until the
        change that it does not answer stands alone. Raises PluginUnavailable if the probe fails.
        """
        began = time.monotonic()
        try:
            answers = iter(await plugin.send([c for change in batch for c in change.commands]))
        except (TimeoutError, CommandRefused) as error:
            await plugin.probe()
            # The timeouts add up: the lock must not be lost meanwhile.
            await device_credentials.keep_alive(conn)
            if len(batch) == 1:
                return {batch[0].username: _text_of(error)}
            half = len(batch) // 2
            self._batch_size = max(half, _BATCH_MIN)
            first = await self._apply(conn, plugin, batch[:half], listed)
            return first | await self._apply(conn, plugin, batch[half:], listed)
        took_s = time.monotonic() - began
        failed: dict[str, str] = {}
        for change in batch:
            refusal = change.record(islice(answers, len(change.commands)), listed)
            if refusal is not None:
                failed[change.username] = refusal
        self._adapt_batch_size(len(batch), took_s)
        return failed

    def _adapt_batch_size(self, changes: int, took_s: float) -> None:
        self._metrics.broker_account_changes.inc(changes)
        if took_s < _BATCH_SHORT_S and changes == self._batch_size:
            self._batch_size = min(2 * self._batch_size, _BATCH_MAX)
        elif took_s > _BATCH_LONG_S:
            self._batch_size = max(self._batch_size // 2, _BATCH_MIN)


async def _record(
    conn: Connection, batch: Sequence[BrokerAccountChange], failed: Mapping[str, str]
) -> None:
    """Record failed accounts for administrators, and delete the records of those that succeeded."""
    for username, error in failed.items():
        set_aside = await failed_items.note(conn, Queue.BROKER_ACCOUNTS, username, error)
        _log.error(
            "broker_account_not_changed", username=username, error=error, set_aside=set_aside
        )
    succeeded = [change.username for change in batch if change.username not in failed]
    await failed_items.forget(conn, Queue.BROKER_ACCOUNTS, succeeded)


def _accounts(
    devices: Iterable[DeviceAccess], plugin: DynamicSecurityClient, listed: ListedAccounts
) -> dict[str, BrokerAccount]:
    """Return the devices' accounts by user name, in the same order."""
    accounts = {}
    for device in devices:
        account = account_of(device, username_patterns=plugin.username_patterns)
        if account is None:
            listed.skipped.add(str(device.id))
        else:
            accounts[account.username] = account
    return accounts


async def _refresh(
    conn: Connection,
    plugin: DynamicSecurityClient,
    wanted: dict[str, BrokerAccount],
    changed: Collection[DeviceId],
    listed: ListedAccounts,
) -> dict[str, BrokerAccount]:
    """Return the wanted accounts after these devices have changed, with theirs first.

    A changed device is no longer skipped: the broker may accept its account now.
    """
    # An empty query is sent too: any statement keeps the connection, and the lock with it.
    found = await device_credentials.access_of(conn, list(changed))
    if not changed:
        return wanted
    names = {str(device_id) for device_id in changed}
    await failed_items.forget(conn, Queue.BROKER_ACCOUNTS, names)
    listed.skipped -= names
    refreshed = _accounts(found.values(), plugin, listed)
    return refreshed | {name: account for name, account in wanted.items() if name not in names}


def _listing_valid_s(listed: ListedAccounts) -> float:
    """Return how long a listing is used before the broker is asked again."""
    return _LIST_EVERY_AFTER_REFUSAL_S if listed.skipped else _LIST_EVERY_S


def _text_of(error: Exception) -> str:
    if isinstance(error, PluginUnavailable):
        return "the broker's dynamic-security plugin does not answer the hub's user"
    return str(error) or repr(error)
