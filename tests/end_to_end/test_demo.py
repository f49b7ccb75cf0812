"""The demonstration: everything at once, to its end."""

from pathlib import Path

import pytest

from tests.support.hubs import hub

_SECONDS = 15


@pytest.mark.slow
def test_the_demo_trades_and_its_books_hold(data: Path) -> None:
    with hub(data, "--demo", "--seconds", str(_SECONDS)) as running:
        output, errors = running.process.communicate(timeout=120)
        assert running.process.returncode == 0, output + errors
        assert not running.processes()
    for told in (
        "first listing.updated on a socket after",
        "ok    wallets",
        "admin",
        "host",
        "buyer",
    ):
        assert told in output
