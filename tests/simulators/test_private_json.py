"""Files that simulators write."""

import stat
from pathlib import Path

from simulators import private_json


def test_only_the_owner_can_read_a_file(tmp_path: Path) -> None:
    path = tmp_path / "new" / "fleet.json"
    private_json.write(path, {"a": 1})
    private_json.write(path, {"a": 2})
    assert private_json.read(path) == {"a": 2}
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert [file.name for file in path.parent.iterdir()] == ["fleet.json"]


def test_a_missing_file_reads_as_none(tmp_path: Path) -> None:
    assert private_json.read(tmp_path / "fleet.json") is None
