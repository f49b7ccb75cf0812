"""A hash chain over the ledger: each digest includes the one before it.

A change, removal or addition of a digested row changes the hash of its digest and of all later
ones. The head then differs from the one that was noted outside the database.
`db/ledger_digests.py` stores the chain.
"""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from uuid import UUID

# The hash before the first digest.
GENESIS = bytes(32)


@dataclass(frozen=True, slots=True)
class RowHash:
    """The SHA-256 of one row and of all rows that belong to it, at the time of the digest."""

    id: UUID
    hash: bytes


@dataclass(frozen=True, slots=True)
class Position:
    """The last ledger entry and the last settled payment that the chain covers, by number."""

    entries_to: int = 0
    settlements_to: int = 0

    def at_least(self, other: "Position") -> "Position":
        """Return the later of two positions, for each number by itself."""
        return Position(
            max(self.entries_to, other.entries_to), max(self.settlements_to, other.settlements_to)
        )


@dataclass(frozen=True, slots=True)
class Head:
    """The last link of the chain. An operator notes its hash where nobody can change it."""

    sequence: int = 0
    hash: bytes = GENESIS
    position: Position = Position()

    def __str__(self) -> str:
        return f"{self.sequence}:{self.hash.hex()}"


@dataclass(frozen=True, slots=True)
class Link:
    """The rows that one digest covers, in addition to those of earlier digests."""

    position: Position
    transfers: Sequence[RowHash]
    payments: Sequence[RowHash]


def append(head: Head, link: Link) -> Head:
    """Return the head after one more link: the SHA-256 of the head's hash and the whole link.

    Numbers are 8 bytes, big-endian, as are the counts before the row hashes.
    """
    sequence = head.sequence + 1
    digest = hashlib.sha256(head.hash)
    for number in (sequence, link.position.entries_to, link.position.settlements_to):
        digest.update(number.to_bytes(8))
    for rows in (link.transfers, link.payments):
        digest.update(len(rows).to_bytes(8))
        for row in rows:
            digest.update(row.id.bytes + row.hash)
    return Head(sequence, digest.digest(), link.position)
