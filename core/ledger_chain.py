"""A chain of digests: each hash holds the one before it, so the last one vouches for all.

Whoever changes, removes or adds a row that was digested has to make every later hash anew, and then
the head is not the one that was noted elsewhere. Pure: who reads and writes it is `db`.
"""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from uuid import UUID

GENESIS = bytes(32)


@dataclass(frozen=True, slots=True)
class Witness:
    """The SHA-256 of one row, and of all that belongs to it, as it was when it was looked at."""

    id: UUID
    hash: bytes


@dataclass(frozen=True, slots=True)
class Position:
    """How far the chain goes: up to these numbers of ledger entries and settled payments."""

    entries_to: int = 0
    settlements_to: int = 0

    def at_least(self, other: "Position") -> "Position":
        return Position(
            max(self.entries_to, other.entries_to), max(self.settlements_to, other.settlements_to)
        )


@dataclass(frozen=True, slots=True)
class Head:
    """The last link; its hash is what to note where nobody can change it."""

    sequence: int = 0
    hash: bytes = GENESIS
    position: Position = Position()

    def __str__(self) -> str:
        return f"{self.sequence}:{self.hash.hex()}"


@dataclass(frozen=True, slots=True)
class Link:
    """What one digest vouches for, beyond all that those before it do."""

    position: Position
    transfers: Sequence[Witness]
    payments: Sequence[Witness]


def append(head: Head, link: Link) -> Head:
    """The head of the chain with one more link: SHA-256 of the head's hash and all of the link.

    Numbers are 8 bytes, big-endian, and so are the counts that precede the witnesses.
    """
    sequence = head.sequence + 1
    digest = hashlib.sha256(head.hash)
    for number in (sequence, link.position.entries_to, link.position.settlements_to):
        digest.update(number.to_bytes(8))
    for witnesses in (link.transfers, link.payments):
        digest.update(len(witnesses).to_bytes(8))
        for witness in witnesses:
            digest.update(witness.id.bytes + witness.hash)
    return Head(sequence, digest.digest(), link.position)
