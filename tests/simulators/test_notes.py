"""What simulators remember, and how they find the hub."""

import stat
from pathlib import Path

from simulators import notes
from simulators.whereabouts import Broker, find


def test_what_is_remembered_can_be_read_by_its_owner_only(tmp_path: Path) -> None:
    path = tmp_path / "new" / "fleet.json"
    notes.write(path, {"a": 1})
    notes.write(path, {"a": 2})
    assert notes.read(path) == {"a": 2}
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert [file.name for file in path.parent.iterdir()] == ["fleet.json"]


def test_nothing_is_remembered_at_first(tmp_path: Path) -> None:
    assert notes.read(tmp_path / "fleet.json") is None


def test_a_running_hub_is_found_by_its_data_directory(tmp_path: Path) -> None:
    notes.write(
        tmp_path / "run.json",
        {
            "api_url": "http://127.0.0.1:8123",
            "mqtt_url": "mqtt://hub:secret@127.0.0.1:1999",
            "realtime_url": "ws://127.0.0.1:8124/ws",
        },
    )
    hub = find(tmp_path)
    assert hub.api_url == "http://127.0.0.1:8123"
    assert hub.broker == Broker("127.0.0.1", 1999)
    assert hub.feed_url == "ws://127.0.0.1:8124/ws"


def test_what_was_told_counts_more_than_what_runs_here(tmp_path: Path) -> None:
    notes.write(tmp_path / "run.json", {"api_url": "http://127.0.0.1:1", "mqtt_url": "mqtt://x:2"})
    hub = find(tmp_path, api_url="https://hub.example/")
    assert hub.api_url == "https://hub.example"
    assert hub.broker is None
    told = find(tmp_path, mqtt_url="mqtts://broker.example")
    assert told.broker == Broker("broker.example", 8883, secure=True)
