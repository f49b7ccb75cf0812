"""Structured logging, set up once per process: one event per line, on stderr or where told.

Log with `structlog.get_logger()`: an event name in snake_case and facts as keywords. Values under
a key that names a secret are masked, wherever they come from. What strangers may have written
(paths, topics, names, error messages) can neither end a line, nor reach a terminal as a command,
nor make a line of any length.
"""

import logging
import math
import re
import sys
import time
import traceback
from collections.abc import Callable
from functools import lru_cache
from typing import Any, TextIO

import structlog
from structlog.typing import EventDict, ExcInfo, Processor, WrappedLogger

from core.settings import LogSettings

_TEXT_MAX = 2_000
_TRACE_MAX = 20_000

_SECRET = re.compile("password|secret|token|authorization|credential", re.IGNORECASE)
# C0, DEL and C1; what ends a line or turns the direction of text in Unicode; half surrogate pairs.
_UNPRINTABLE = re.compile(
    "[\x00-\x1f\x7f-\x9f\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069\ufeff\ud800-\udfff]"
)


def mask_secrets(_: WrappedLogger, __: str, event: EventDict) -> EventDict:
    for key in event:
        if _names_a_secret(key):
            event[key] = "***"
    return event


@lru_cache
def _names_a_secret(key: str) -> bool:
    return _SECRET.search(key) is not None


def printable(text: str) -> str:
    """The text with every control character as an escape, such as `\\n`, cut to some length."""
    if len(text) > _TEXT_MAX:
        text = f"{text[:_TEXT_MAX]}… ({len(text)} characters)"
    return _UNPRINTABLE.sub(_escape, text)


def escape_controls(_: WrappedLogger, __: str, event: EventDict) -> EventDict:
    """Make everything in an event printable. Numbers and ids, which are, stay what they are."""
    for key, value in event.items():
        if isinstance(value, str):
            # Nearly always: each request's line comes through here.
            if not (value.isprintable() and len(value) <= _TEXT_MAX):
                event[key] = printable(value)
        elif key != "exc_info" and isinstance(value, list | tuple | dict | BaseException):
            event[key] = _printable(value)
    return event


def _printable(value: Any) -> Any:
    if isinstance(value, str):
        return printable(value)
    if isinstance(value, dict):
        return {_printable(key): _printable(member) for key, member in value.items()}
    if isinstance(value, list | tuple):
        return [_printable(member) for member in value]
    return printable(repr(value)) if isinstance(value, BaseException) else value


def _escape(match: re.Match[str]) -> str:
    return match[0].encode("unicode_escape").decode()


def _trace(exc_info: ExcInfo) -> str:
    """A traceback without what variables hold: passwords among them. What went wrong ends it."""
    trace = "".join(traceback.format_exception(*exc_info)).rstrip()
    return (
        trace if len(trace) <= _TRACE_MAX else f"({len(trace)} characters) …{trace[-_TRACE_MAX:]}"
    )


def _write_trace(out: TextIO, exc_info: ExcInfo) -> None:
    """Indented: no line of what an exception says looks like one of the log's own."""
    for line in _trace(exc_info).split("\n"):
        out.write(f"\n    {_UNPRINTABLE.sub(_escape, line)}")


class OncePerSecond:
    """Lets one event a second into the log: what goes wrong with each request would fill a disk."""

    def __init__(self, *, monotonic: Callable[[], float] = time.monotonic) -> None:
        self._monotonic = monotonic
        self._due_at = -math.inf
        self._left_out = 0

    def due(self) -> int | None:
        """How many were left out since the last one; None: leave this one out."""
        now = self._monotonic()
        if now < self._due_at:
            self._left_out += 1
            return None
        self._due_at = now + 1
        left_out, self._left_out = self._left_out, 0
        return left_out


def set_up(settings: LogSettings, *, process: str, stream: TextIO = sys.stderr) -> None:
    """Route structlog and the standard library's loggers to one format and one stream."""
    json = settings.log_format == "json"
    shared: list[Processor] = [
        structlog.contextvars.merge_contextvars,
        structlog.processors.add_log_level,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
        mask_secrets,
        escape_controls,
    ]
    shown: list[Processor] = (
        [structlog.processors.ExceptionRenderer(_trace), structlog.processors.JSONRenderer()]
        if json
        else [
            structlog.dev.ConsoleRenderer(colors=stream.isatty(), exception_formatter=_write_trace)
        ]
    )
    formatter = structlog.stdlib.ProcessorFormatter(
        foreign_pre_chain=shared,
        processors=[structlog.stdlib.ProcessorFormatter.remove_processors_meta, *shown],
    )
    handler = logging.StreamHandler(stream)
    handler.setFormatter(formatter)
    root = logging.getLogger()
    root.handlers = [handler]
    root.setLevel(settings.log_level.upper())
    for noisy in (
        "alembic",
        "uvicorn",
        "amqtt",
        "transitions",
        "websockets",
        "httpx",
        "httpcore",
        "asyncio",
    ):
        logging.getLogger(noisy).setLevel(logging.WARNING)
    # Ours are not made into records of the standard library, only to be taken apart again.
    structlog.configure(
        processors=[*shared, *shown],
        wrapper_class=structlog.make_filtering_bound_logger(settings.log_level),
        logger_factory=structlog.WriteLoggerFactory(stream),
        cache_logger_on_first_use=True,
    )
    structlog.contextvars.bind_contextvars(process=process)
