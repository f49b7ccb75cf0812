"""Advisory locks: every key that the hub uses, and the statements that take them.

PostgreSQL has one key space for all advisory locks of a database. Two purposes that share a key
would exclude each other without any error, so a key is written here and nowhere else.
"""

from enum import IntEnum

from core.ids import DeviceId
from db.pool import Connection

_TRY_LOCK = "SELECT pg_try_advisory_lock($1)"

_UNLOCK = "SELECT pg_advisory_unlock($1)"

_TRY_LOCK_UNTIL_COMMIT = "SELECT pg_try_advisory_xact_lock($1)"

# Keys in two parts are apart from all others: of two devices with one hash, one waits.
_TRY_LOCK_DEVICE = "SELECT pg_try_advisory_lock($1, hashtext($2::text))"

_UNLOCK_DEVICE = "SELECT pg_advisory_unlock($1, hashtext($2::text))"


class AdvisoryLock(IntEnum):
    """Keys of advisory locks. The numbers are arbitrary; a key never changes its meaning."""

    # One host at a time migrates the database. Others wait and then find it up to date.
    MIGRATION = 83993163
    # One relay at a time publishes the outbox, so that events leave in id order.
    RELAY = 764382101
    # Held by the relay alone while it sleeps. A transaction that writes events shares it until
    # commit; where it can't, it sends NOTIFY (SQL function `wake_relay`).
    RELAY_SLEEP = 764382102
    # One ingester at a time writes the devices' accounts to the broker.
    BROKER_ACCOUNTS = 764382103
    # One relay at a time appends to the chain of ledger digests.
    LEDGER_DIGESTS = 764382104
    # One ingester at a time deletes rejections over the limit, until commit.
    REJECTION_RETENTION = 764382124
    # One ingester at a time thins out checkpoints of settled days, until commit.
    CHECKPOINT_RETENTION = 764382126
    # One ingester at a time accounts a device's late readings; the second key is the device.
    REACCOUNTING = 764382127
    # One API process at a time deletes expired idempotency keys and tokens, until commit.
    EXPIRY = 764382125


async def try_lock(conn: Connection, lock: AdvisoryLock) -> bool:
    """Take a lock for as long as the connection lives. Return False if another session holds it.

    The connection must not come from a pool: the lock would stay with it after its release.
    """
    return bool(await conn.fetchval(_TRY_LOCK, lock))


async def unlock(conn: Connection, lock: AdvisoryLock) -> None:
    """Release a lock that `try_lock` took on this connection."""
    await conn.execute(_UNLOCK, lock)


async def try_lock_until_commit(conn: Connection, lock: AdvisoryLock) -> bool:
    """Take a lock until the end of the transaction. Return False if another session holds it."""
    return bool(await conn.fetchval(_TRY_LOCK_UNTIL_COMMIT, lock))


async def try_lock_device(conn: Connection, lock: AdvisoryLock, device_id: DeviceId) -> bool:
    """Take a lock of one device, as `try_lock` takes one. Return False if another holds it."""
    return bool(await conn.fetchval(_TRY_LOCK_DEVICE, lock, str(device_id)))


async def unlock_device(conn: Connection, lock: AdvisoryLock, device_id: DeviceId) -> None:
    """Release a lock that `try_lock_device` took on this connection."""
    await conn.execute(_UNLOCK_DEVICE, lock, str(device_id))
