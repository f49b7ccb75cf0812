"""The chain of digests of the ledger: what is not in it yet, what is, and what rows hash to.

What a row hashes to is said here and not in a function of the database, which an owner of the
tables could replace.
"""

from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass
from uuid import UUID

from core.ledger_chain import Head, Link, Position, RowHash
from db.pool import Connection, Record

# One who hangs is given up after 20 s, with its lock: it asks for something each second. Plans are
# made once, by the indexes: the tables may be empty when they are.
_PREPARE = """
SELECT set_config('enable_seqscan', 'off', false),
       set_config('tcp_keepalives_idle', '2', false),
       set_config('tcp_keepalives_interval', '2', false),
       set_config('tcp_keepalives_count', '2', false),
       set_config('idle_session_timeout', '20000', false),
       set_config('idle_in_transaction_session_timeout', '20000', false)
"""

_HEAD = """
SELECT sequence, hash, entries_to, settlements_to FROM ledger_digests ORDER BY sequence DESC LIMIT 1
"""

_HASH_AT = "SELECT hash FROM ledger_digests WHERE sequence = $1"

_MARK = """
SELECT coalesce((SELECT max(id) FROM ledger_entries), 0) AS entries_to,
       coalesce((SELECT max(settlement) FROM payment_orders), 0) AS settlements_to,
       pg_snapshot_xmax(pg_current_snapshot())::text AS began_before
"""

_IS_SETTLED = "SELECT pg_snapshot_xmin(pg_current_snapshot()) >= $1::text::xid8"

# A transfer goes with the first of its entries, whole.
_NEXT_TRANSFERS = """
WITH covered AS (
    SELECT id, transfer_id FROM ledger_entries WHERE id > $1 AND id <= $2 ORDER BY id LIMIT $3
), transfers AS (
    SELECT transfer_id, min(id) AS first_id FROM covered GROUP BY transfer_id
)
SELECT CASE WHEN (SELECT count(*) FROM covered) < $3 THEN $2
            ELSE (SELECT max(id) FROM covered) END AS upto,
       ARRAY(SELECT transfer_id FROM transfers t
              WHERE NOT EXISTS (SELECT FROM ledger_entries e
                                 WHERE e.transfer_id = t.transfer_id AND e.id <= $1)
              ORDER BY first_id) AS ids
"""

_NEXT_PAYMENTS = """
WITH covered AS (
    SELECT id, settlement FROM payment_orders
     WHERE settlement > $1 AND settlement <= $2 ORDER BY settlement LIMIT $3
)
SELECT CASE WHEN (SELECT count(*) FROM covered) < $3 THEN $2
            ELSE (SELECT max(settlement) FROM covered) END AS upto,
       ARRAY(SELECT id FROM covered ORDER BY settlement) AS ids
"""

# A transfer, its entries, and what it was for. Not who and what may be deleted, and is null then:
# people stand in the entries' accounts. A row that is missing has a hash too.
_TRANSFER_WITNESSES = """
SELECT wanted.id, sha256(convert_to(json_build_array(
       (SELECT json_build_array(t.kind, t.reference_id, extract(epoch FROM t.created_at),
               (SELECT json_build_array(
                       o.provider, o.kind, o.amount, extract(epoch FROM o.created_at))
                  FROM payment_orders o WHERE o.id = t.reference_id))
          FROM ledger_transfers t WHERE t.id = wanted.id),
       (SELECT json_agg(json_build_array(
               e.id, e.account, e.amount, extract(epoch FROM e.created_at)) ORDER BY e.id)
          FROM ledger_entries e WHERE e.transfer_id = wanted.id),
       (SELECT json_agg(json_build_array(
               x.id, x.energy_kwh, x.price_per_kwh, x.total_price, x.platform_fee, x.seller_amount,
               x.investor_amount, x.status, extract(epoch FROM x.created_at),
               (SELECT json_agg(json_build_array(s.investment_id, s.investor_id, s.amount)
                                ORDER BY s.investment_id)
                  FROM revenue_shares s WHERE s.transaction_id = x.id)) ORDER BY x.id)
          FROM energy_transactions x WHERE x.transfer_id = wanted.id),
       (SELECT json_agg(json_build_array(
               i.id, i.amount, extract(epoch FROM i.created_at)) ORDER BY i.id)
          FROM investments i WHERE i.transfer_id = wanted.id)
       )::text, 'UTF8')) AS hash
  FROM unnest($1::uuid[]) WITH ORDINALITY AS wanted (id, number)
 ORDER BY number
"""

_PAYMENT_WITNESSES = """
SELECT wanted.id, sha256(convert_to(coalesce((
       SELECT json_build_array(
              o.settlement, o.provider, o.kind, o.amount, o.status, o.transfer_id,
              extract(epoch FROM o.created_at), extract(epoch FROM o.completed_at))
         FROM payment_orders o WHERE o.id = wanted.id)::text, ''), 'UTF8')) AS hash
  FROM unnest($1::uuid[]) WITH ORDINALITY AS wanted (id, number)
 ORDER BY number
"""

_APPEND = """
INSERT INTO ledger_digests (sequence, entries_to, settlements_to, transfer_ids, transfer_hashes,
                            payment_ids, payment_hashes, hash)
VALUES ($1, $2, $3, $4, $5, $6, $7, $8)
"""

_WAITING_SINCE = """
SELECT coalesce(extract(epoch FROM clock_timestamp() - min(created_at)), 0)::float8
  FROM (SELECT created_at FROM ledger_entries WHERE id > $1 ORDER BY id LIMIT 1) AS oldest
"""

_ALL = """
SELECT sequence, entries_to, settlements_to, transfer_ids, transfer_hashes, payment_ids,
       payment_hashes, hash
  FROM ledger_digests ORDER BY sequence
"""

_UNDIGESTED = """
SELECT 'transfer ' || id || ' of no digest' FROM (
       SELECT transfer_id AS id FROM ledger_entries WHERE id <= $1
       EXCEPT SELECT unnest(transfer_ids) FROM ledger_digests) AS undigested
UNION ALL
SELECT 'payment ' || id || ' of no digest' FROM (
       SELECT id FROM payment_orders WHERE settlement <= $2
       EXCEPT SELECT unnest(payment_ids) FROM ledger_digests) AS undigested
"""


@dataclass(frozen=True, slots=True)
class Mark:
    """Where the ledger ends for a snapshot, and which transactions it did not see to their end."""

    position: Position
    began_before: str


@dataclass(frozen=True, slots=True)
class Digest:
    """A link as it is kept, and the head that it is said to make."""

    link: Link
    head: Head


async def prepare(conn: Connection) -> None:
    """Let the server give up this connection, with its lock, when nobody is heard there."""
    await conn.execute(_PREPARE)


async def head(conn: Connection) -> Head:
    """The end of the chain; its beginning where there is none yet."""
    row = await conn.fetchrow(_HEAD)
    return _head(row) if row else Head()


async def holds(conn: Connection, head: Head) -> bool:
    """Whether a head that was seen before is in the chain still."""
    return head == Head() or await conn.fetchval(_HASH_AT, head.sequence) == head.hash


async def mark(conn: Connection) -> Mark:
    """Where the ledger ends now.

    Up to there something may still be missing, of transactions that have yet to commit: each has
    written its transfer, or locked its payment, before it took a number, so it is known by then.
    """
    row = await conn.fetchrow(_MARK)
    assert row is not None
    return Mark(Position(row["entries_to"], row["settlements_to"]), row["began_before"])


async def is_complete(conn: Connection, mark: Mark) -> bool:
    """Whether nothing can be added up to a mark any more: all that ran when it was made is over."""
    return bool(await conn.fetchval(_IS_SETTLED, mark.began_before))


async def next_link(conn: Connection, after: Position, upto: Position, limit: int) -> Link:
    """What follows on a position, of at most so many entries and payments."""
    entries = await conn.fetchrow(_NEXT_TRANSFERS, after.entries_to, upto.entries_to, limit)
    payments = await conn.fetchrow(_NEXT_PAYMENTS, after.settlements_to, upto.settlements_to, limit)
    assert entries is not None
    assert payments is not None
    return Link(
        Position(entries["upto"], payments["upto"]),
        await transfer_witnesses(conn, entries["ids"]),
        await payment_witnesses(conn, payments["ids"]),
    )


async def transfer_witnesses(conn: Connection, ids: Sequence[UUID]) -> list[RowHash]:
    """What transfers hash to as they are now, in the order of their ids here."""
    return [RowHash(row["id"], row["hash"]) for row in await conn.fetch(_TRANSFER_WITNESSES, ids)]


async def payment_witnesses(conn: Connection, ids: Sequence[UUID]) -> list[RowHash]:
    """What settled payments hash to as they are now, in the order of their ids here."""
    return [RowHash(row["id"], row["hash"]) for row in await conn.fetch(_PAYMENT_WITNESSES, ids)]


async def append(conn: Connection, head: Head, link: Link) -> None:
    """Keep a link; `head`: the one that it makes."""
    await conn.execute(
        _APPEND,
        head.sequence,
        head.position.entries_to,
        head.position.settlements_to,
        [witness.id for witness in link.transfers],
        [witness.hash for witness in link.transfers],
        [witness.id for witness in link.payments],
        [witness.hash for witness in link.payments],
        head.hash,
    )


async def waiting_s(conn: Connection, after: Position) -> float:
    """The age of the oldest entry behind a position; 0: there is none."""
    return float(await conn.fetchval(_WAITING_SINCE, after.entries_to))


async def every(conn: Connection) -> AsyncIterator[Digest]:
    """The whole chain, from its beginning. In a transaction."""
    async for row in conn.cursor(_ALL, prefetch=10):
        transfers = _witnesses(row["transfer_ids"], row["transfer_hashes"])
        payments = _witnesses(row["payment_ids"], row["payment_hashes"])
        read = _head(row)
        yield Digest(Link(read.position, transfers, payments), read)


async def undigested(conn: Connection, upto: Position) -> list[str]:
    """Transfers and payments in no digest that should be in one, by what they are."""
    rows = await conn.fetch(_UNDIGESTED, upto.entries_to, upto.settlements_to)
    return [row[0] for row in rows]


def _head(row: Record) -> Head:
    position = Position(row["entries_to"], row["settlements_to"])
    return Head(row["sequence"], row["hash"], position)


def _witnesses(ids: Sequence[UUID], hashes: Sequence[bytes]) -> list[RowHash]:
    return [RowHash(*pair) for pair in zip(ids, hashes, strict=True)]
