"""Advisory locks: every key that the hub uses, and the statements that take them.

PostgreSQL has one key space for all advisory locks of a database. Two purposes that share a key
would exclude each other without any error, so a key is written here and nowhere else.
"""

from enum import IntEnum

from db.pool import Connection

_TRY_LOCK = "SELECT pg_try_advisory_lock($1)"

_UNLOCK = "SELECT pg_advisory_unlock($1)"

_TRY_LOCK_UNTIL_COMMIT = "SELECT pg_try_advisory_xact_lock($1)"


class AdvisoryLock(IntEnum):
    """Keys of advisory locks. The numbers are arbitrary; a key never changes its meaning."""

    # One host at a time migrates the database. Others wait and then find it up to date.
    MIGRATION = 83993163
    # One relay at a time publishes the outbox, so that events leave in id order.
    RELAY = 764382101
    # Held by the relay alone while it sleeps. A transaction that writes events shares it until
    # commit; where it can't, it sends NOTIFY (SQL function `outbox_wakes_the_relay`).
    RELAY_SLEEP = 764382102
    # One ingester at a time writes the devices' accounts to the broker.
    BROKER_ACCOUNTS = 764382103
    # One relay at a time appends to the chain of ledger digests.
    LEDGER_DIGESTS = 764382104
    # One ingester at a time deletes rejections over the limit, until commit.
    REJECTION_RETENTION = 764382124
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
