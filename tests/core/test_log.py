"""What is logged tells what went wrong, and no secret."""

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
def as_it_was() -> Iterator[None]:
    root = logging.getLogger()
    handlers, level = root.handlers, root.level
    yield
    root.handlers = handlers
    root.setLevel(level)
    structlog.reset_defaults()
    structlog.contextvars.clear_contextvars()


@pytest.mark.parametrize("log_format", ["console", "json"])
def test_a_trace_shows_no_values(log_format: Literal["console", "json"]) -> None:
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
    told = stream.getvalue()
    assert "unexpected_error" in told
    assert "RuntimeError: broken" in told
    assert "sign_in" in told
    assert "hunter2" not in told
    assert "sesame" not in told


def test_our_events_and_those_of_libraries_are_lines_of_one_format() -> None:
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
