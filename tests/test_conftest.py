"""Rules of the test suite itself."""

import pytest

from tests.conftest import require


def test_what_is_not_installed_is_skipped_unless_it_is_required(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.delenv("SOLARHUB_REQUIRE", raising=False)
    with pytest.raises(pytest.skip.Exception, match="mosquitto is not installed"):
        require("mosquitto", None)
    monkeypatch.setenv("SOLARHUB_REQUIRE", "chromium,mosquitto")
    with pytest.raises(pytest.fail.Exception, match="SOLARHUB_REQUIRE asks for it"):
        require("mosquitto", None)
    assert require("mosquitto", "/usr/sbin/mosquitto") == "/usr/sbin/mosquitto"
