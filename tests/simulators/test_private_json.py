"""What simulators remember, and how they find a broker."""

import stat
from pathlib import Path

import pytest

from simulators import private_json
from simulators.hub_addresses import BrokerAddress


def test_what_is_remembered_can_be_read_by_its_owner_only(tmp_path: Path) -> None:
    path = tmp_path / "new" / "fleet.json"
    private_json.write(path, {"a": 1})
    private_json.write(path, {"a": 2})
    assert private_json.read(path) == {"a": 2}
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert [file.name for file in path.parent.iterdir()] == ["fleet.json"]


def test_nothing_is_remembered_at_first(tmp_path: Path) -> None:
    assert private_json.read(tmp_path / "fleet.json") is None


@pytest.mark.parametrize(
    ("url", "broker"),
    [
        ("mqtt://hub:secret@127.0.0.1:1999", BrokerAddress("127.0.0.1", 1999)),
        ("mqtt://broker.example", BrokerAddress("broker.example", 1883)),
        ("mqtts://broker.example", BrokerAddress("broker.example", 8883, secure=True)),
    ],
)
def test_a_broker_is_known_by_its_url(url: str, broker: BrokerAddress) -> None:
    assert BrokerAddress.of(url) == broker
