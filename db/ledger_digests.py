"""The chain of digests over the ledger: its rows, the next link, and the checks of an audit.

The statements here compute the hashes of rows. A function of the database must not do so, since the
owner of the tables could replace it.
"""

from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass
from uuid import UUID

from core import ledger_chain
from core.ledger_chain import Head, Link, Position, RowHash
from db.audit_results import Check
from db.pool import Connection, Record

# The server ends a connection that hangs after 20 s and releases its lock; a live one sends a
# statement every second. Statements are planned once and must use the indexes, though the tables
# may be empty at that time.
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

# A transfer belongs as a whole to the link of its first entry.
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

# A transfer, its entries and its cause. References that become null on deletion are left out: the
# accounts of the entries name the users. A missing row has a hash too.
_TRANSFER_HASHES = """
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

_PAYMENT_HASHES = """
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

_LAG_S = """
SELECT coalesce(extract(epoch FROM hub_clock_timestamp() - min(created_at)), 0)::float8
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
    """The end of the ledger in a snapshot."""

    position: Position
    # Transactions with lower ids may have been running at the time of the snapshot.
    began_before: str


@dataclass(frozen=True, slots=True)
class Digest:
    """A stored link, and the stored head after it."""

    link: Link
    head: Head


async def prepare(conn: Connection) -> None:
    """Let the server end this connection and release its lock if the client does not respond."""
    await conn.execute(_PREPARE)


async def head(conn: Connection) -> Head:
    """Return the end of the chain, or its beginning if it has no link yet."""
    row = await conn.fetchrow(_HEAD)
    return _head(row) if row else Head()


async def holds(conn: Connection, head: Head) -> bool:
    """Return True if the chain still contains a head."""
    return head == Head() or await conn.fetchval(_HASH_AT, head.sequence) == head.hash


async def mark(conn: Connection) -> Mark:
    """Return the current end of the ledger.

    Rows up to there may still be missing, from transactions that have not committed. Each of these
    writes its transfer, or locks its payment, before it takes a number. So it has a transaction id
    at that time, and `is_complete` waits for it.
    """
    row = await conn.fetchrow(_MARK)
    assert row is not None
    return Mark(Position(row["entries_to"], row["settlements_to"]), row["began_before"])


async def is_complete(conn: Connection, mark: Mark) -> bool:
    """Return True if no row up to a mark can be added: all transactions from then have ended."""
    return bool(await conn.fetchval(_IS_SETTLED, mark.began_before))


async def next_link(conn: Connection, after: Position, upto: Position, limit: int) -> Link:
    """Return the link after a position, with at most `limit` entries and payments each."""
    entries = await conn.fetchrow(_NEXT_TRANSFERS, after.entries_to, upto.entries_to, limit)
    payments = await conn.fetchrow(_NEXT_PAYMENTS, after.settlements_to, upto.settlements_to, limit)
    assert entries is not None
    assert payments is not None
    return Link(
        Position(entries["upto"], payments["upto"]),
        await transfer_hashes_of(conn, entries["ids"]),
        await payment_hashes_of(conn, payments["ids"]),
    )


async def transfer_hashes_of(conn: Connection, ids: Sequence[UUID]) -> list[RowHash]:
    """Return the current hashes of transfers, in the order of `ids`."""
    return [RowHash(row["id"], row["hash"]) for row in await conn.fetch(_TRANSFER_HASHES, ids)]


async def payment_hashes_of(conn: Connection, ids: Sequence[UUID]) -> list[RowHash]:
    """Return the current hashes of settled payments, in the order of `ids`."""
    return [RowHash(row["id"], row["hash"]) for row in await conn.fetch(_PAYMENT_HASHES, ids)]


async def append(conn: Connection, head: Head, link: Link) -> None:
    """Store a link and the head after it."""
    await conn.execute(
        _APPEND,
        head.sequence,
        head.position.entries_to,
        head.position.settlements_to,
        [row.id for row in link.transfers],
        [row.hash for row in link.transfers],
        [row.id for row in link.payments],
        [row.hash for row in link.payments],
        head.hash,
    )


async def lag_s(conn: Connection, after: Position) -> float:
    """Return the age of the oldest entry after a position; 0: there is none."""
    return float(await conn.fetchval(_LAG_S, after.entries_to))


async def every(conn: Connection) -> AsyncIterator[Digest]:
    """Yield the whole chain from its beginning. Needs a transaction."""
    async for row in conn.cursor(_ALL, prefetch=10):
        transfers = _row_hashes(row["transfer_ids"], row["transfer_hashes"])
        payments = _row_hashes(row["payment_ids"], row["payment_hashes"])
        read = _head(row)
        yield Digest(Link(read.position, transfers, payments), read)


async def undigested(conn: Connection, upto: Position) -> list[str]:
    """Describe the transfers and payments up to a position that no digest covers."""
    rows = await conn.fetch(_UNDIGESTED, upto.entries_to, upto.settlements_to)
    return [row[0] for row in rows]


async def checks(conn: Connection, noted_hash: bytes | None) -> AsyncIterator[Check]:
    """Compare every digested row with its digest, and every digest with the next.

    `noted_hash`: the hash of a head that was noted outside the database, which must be in the
    chain. Without one, a chain that was recomputed as a whole goes unnoticed.
    """
    offending: list[str] = []
    head, has_noted = Head(), False
    async for digest in every(conn):
        if ledger_chain.append(head, digest.link) != digest.head:
            offending.append(f"digest {digest.head.sequence}")
        head = digest.head
        has_noted = has_noted or head.hash == noted_hash
        offending += await _changed(conn, digest)
    offending += await undigested(conn, head.position)
    yield Check("digests", f"no digested row has changed (head {head})", tuple(offending))
    if noted_hash is not None:
        missing = () if has_noted else (noted_hash.hex(),)
        yield Check("head", "the noted head is in the chain of digests", missing)


async def _changed(conn: Connection, digest: Digest) -> list[str]:
    """Describe the rows of a digest that were changed, removed or added to since."""
    link, number = digest.link, digest.head.sequence
    transfers = await transfer_hashes_of(conn, [row.id for row in link.transfers])
    payments = await payment_hashes_of(conn, [row.id for row in link.payments])
    return [
        f"{kind} {digested.id} of digest {number}"
        for kind, digested_rows, current_rows in (
            ("transfer", link.transfers, transfers),
            ("payment", link.payments, payments),
        )
        for digested, current in zip(digested_rows, current_rows, strict=True)
        if digested != current
    ]


def _head(row: Record) -> Head:
    position = Position(row["entries_to"], row["settlements_to"])
    return Head(row["sequence"], row["hash"], position)


def _row_hashes(ids: Sequence[UUID], hashes: Sequence[bytes]) -> list[RowHash]:
    return [RowHash(*pair) for pair in zip(ids, hashes, strict=True)]
