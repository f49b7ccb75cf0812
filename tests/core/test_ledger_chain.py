"""The hash of a head depends on its link and on every link before it."""

from dataclasses import replace
from uuid import UUID

import pytest

from core.ledger_chain import Head, Link, Position, RowHash, append

ONE, TWO = RowHash(UUID(int=1), bytes([1] * 32)), RowHash(UUID(int=2), bytes([2] * 32))
LINK = Link(Position(10, 3), [ONE, TWO], [])


def test_heads_are_numbered_and_have_the_position_of_their_link() -> None:
    first = append(Head(), LINK)
    second = append(first, Link(Position(12, 4), [], [ONE]))
    assert (first.sequence, first.position) == (1, Position(10, 3))
    assert (second.sequence, second.position) == (2, Position(12, 4))
    assert str(second) == f"2:{second.hash.hex()}"


def test_the_same_history_has_the_same_head() -> None:
    # A fixed value: heads that were noted years ago must stay comparable.
    assert append(Head(), LINK).hash.hex() == (
        "b674fe7e241201d64cffecdf07b8830e532a2a69bdcc3b8d2551bfaa3cef2ddc"
    )


@pytest.mark.parametrize(
    "other",
    [
        replace(LINK, position=Position(11, 3)),
        replace(LINK, position=Position(10, 4)),
        replace(LINK, transfers=[TWO, ONE]),
        replace(LINK, transfers=[ONE]),
        replace(LINK, transfers=[ONE], payments=[TWO]),
        replace(LINK, transfers=[ONE, RowHash(TWO.id, ONE.hash)]),
        replace(LINK, transfers=[ONE, RowHash(ONE.id, TWO.hash)]),
    ],
)
def test_another_history_has_another_head(other: Link) -> None:
    assert append(Head(), other).hash != append(Head(), LINK).hash
    later = Link(Position(20, 9), [ONE], [TWO])
    assert append(append(Head(), other), later).hash != append(append(Head(), LINK), later).hash
