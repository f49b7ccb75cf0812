"""Log lines describe a failure, contain no secret and can't be forged."""

import io
import json
import logging
from collections.abc import Iterator
from typing import Literal

import pytest
import structlog

from core import log
from core.settings import LogSettings


@pytest.fixture(autouse=True)
def restored_logging() -> Iterator[None]:
    root = logging.getLogger()
    handlers, level = root.handlers, root.level
    yield
    root.handlers = handlers
    root.setLevel(level)
    structlog.reset_defaults()
    structlog.contextvars.clear_contextvars()


@pytest.mark.parametrize("log_format", ["console", "json"])
def test_a_traceback_contains_no_values(log_format: Literal["console", "json"]) -> None:
    stream = io.StringIO()
    log.set_up(LogSettings(log_format=log_format), process="test", stream=stream)

    def sign_in(password: str) -> None:
        raise RuntimeError("broken")

    try:
        sign_in("".join(["hunt", "er2"]))
    except RuntimeError as error:
        structlog.get_logger().error(
            "unexpected_error", exc_info=error, token="".join(["se", "same"])
        )
    logged = stream.getvalue()
    assert "unexpected_error" in logged
    assert "RuntimeError: broken" in logged
    assert "sign_in" in logged
    assert "hunter2" not in logged
    assert "sesame" not in logged


# Ends a line and begins another, clears a terminal by 7-bit and 8-bit codes, reverses text.
_HOSTILE = "a\r\n2026-01-01 [info] admin_made\x1b[2J\x9b2J\x00\x7f\u2028b\u202ec\ud800"


@pytest.mark.parametrize("log_format", ["console", "json"])
def test_untrusted_text_can_not_forge_a_line_or_control_a_terminal(
    log_format: Literal["console", "json"],
) -> None:
    """In an event's name, a fact, a list, an error's message or a library's record."""
    stream = io.StringIO()
    log.set_up(LogSettings(log_format=log_format), process="test", stream=stream)
    ours, theirs = structlog.get_logger(), logging.getLogger("uvicorn.error")
    error = ValueError(_HOSTILE)
    ours.info(_HOSTILE)
    ours.info("request", path=_HOSTILE, error=error)
    ours.info("request", topics=[_HOSTILE, {_HOSTILE: (_HOSTILE,)}])
    theirs.warning("refused %s", _HOSTILE)
    ours.error("failed", exc_info=error)
    theirs.error("failed", exc_info=error)
    lines = stream.getvalue().split("\n")
    assert lines.pop() == ""
    assert [line for line in lines if line.startswith("2026-01-01")] == []
    events = [line for line in lines if not line.startswith("    ")]
    assert len(events) == 6
    for line in lines:
        plain = line.replace("\x1b[0m", "") if log_format == "console" else line
        assert plain.isprintable(), plain


def test_the_length_of_a_line_is_limited() -> None:
    stream = io.StringIO()
    log.set_up(LogSettings(log_format="json"), process="test", stream=stream)
    structlog.get_logger().info("refused", username="x" * 100_000, error=ValueError("y" * 100_000))
    structlog.get_logger().error("failed", exc_info=ValueError("z" * 100_000))
    refused, failed = stream.getvalue().splitlines()
    assert len(refused) < 10_000
    assert '(100000 characters)"' in refused
    assert len(failed) < 30_000


def test_events_of_the_hub_and_of_libraries_have_one_format() -> None:
    stream = io.StringIO()
    log.set_up(LogSettings(log_format="json", log_level="info"), process="test", stream=stream)
    structlog.get_logger().info("ours", answer=42)
    structlog.get_logger().debug("not asked for")
    logging.getLogger("library").info("theirs")
    logging.getLogger("library").debug("not asked for")
    ours, theirs = map(json.loads, stream.getvalue().splitlines())
    assert ours["answer"] == 42
    assert (ours["event"], theirs["event"]) == ("ours", "theirs")
    for key in ("level", "process"):
        assert ours[key] == theirs[key]
    assert ours["timestamp"] <= theirs["timestamp"]
