"""The audit's check of history: is what the ledger's digests vouch for still as it was?"""

from collections.abc import AsyncIterator

from core.ledger_chain import Head, append
from db import ledger_digests
from db.checks import Check
from db.ledger_digests import Digest
from db.pool import Connection


async def checks(conn: Connection, noted_hash: bytes | None) -> AsyncIterator[Check]:
    """Hold every row that was digested against its digest, and every digest against the next.

    `noted_hash`: a head's that was noted elsewhere, which has to be in the chain. Without one, who
    makes the whole chain anew is not found out.
    """
    offending: list[str] = []
    head, has_noted = Head(), False
    async for digest in ledger_digests.every(conn):
        if append(head, digest.link) != digest.head:
            offending.append(f"digest {digest.head.sequence}")
        head = digest.head
        has_noted = has_noted or head.hash == noted_hash
        offending += await _changed(conn, digest)
    offending += await ledger_digests.undigested(conn, head.position)
    yield Check("digests", f"what was digested is as it was (head {head})", tuple(offending))
    if noted_hash is not None:
        missing = () if has_noted else (noted_hash.hex(),)
        yield Check("head", "the head that was noted is in the chain of digests", missing)


async def _changed(conn: Connection, digest: Digest) -> list[str]:
    """What a digest vouches for and is not as it was: rewritten, removed or added to."""
    link, number = digest.link, digest.head.sequence
    transfers = await ledger_digests.transfer_witnesses(conn, [w.id for w in link.transfers])
    payments = await ledger_digests.payment_witnesses(conn, [w.id for w in link.payments])
    return [
        f"{what} {was.id} of digest {number}"
        for what, kept, found in (
            ("transfer", link.transfers, transfers),
            ("payment", link.payments, payments),
        )
        for was, now in zip(kept, found, strict=True)
        if was != now
    ]
