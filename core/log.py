"""Structured logging, set up once per process: one event per line, on stderr by default.

Log with `structlog.get_logger()`: an event name in snake_case and facts as keywords. A value is
masked if its key names a secret. Untrusted text (paths, topics, names, error messages) can't end a
line, send control sequences to a terminal or exceed the length limit.
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
# C0, DEL and C1; Unicode line ends and text directions; unpaired surrogates.
_UNPRINTABLE = re.compile(
    "[\x00-\x1f\x7f-\x9f\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069\ufeff\ud800-\udfff]"
)


def mask_secrets(_: WrappedLogger, __: str, event: EventDict) -> EventDict:
    """Mask values whose key names a secret."""
    for key in event:
        if _names_a_secret(key):
            event[key] = "***"
    return event


@lru_cache
def _names_a_secret(key: str) -> bool:
    return _SECRET.search(key) is not None


def printable(text: str) -> str:
    """Return the text with control characters escaped, such as `\\n`, and its length limited."""
    if len(text) > _TEXT_MAX:
        text = f"{text[:_TEXT_MAX]}… ({len(text)} characters)"
    return _UNPRINTABLE.sub(_escape, text)


def escape_controls(_: WrappedLogger, __: str, event: EventDict) -> EventDict:
    """Make every text in an event printable. Numbers and ids stay as they are."""
    for key, value in event.items():
        if isinstance(value, str):
            # Fast path: every request's log line passes here, and nearly all are printable.
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
    """Format a traceback without values of variables, which may be secrets. Limit its length."""
    trace = "".join(traceback.format_exception(*exc_info)).rstrip()
    return (
        trace if len(trace) <= _TRACE_MAX else f"({len(trace)} characters) …{trace[-_TRACE_MAX:]}"
    )


def _write_trace(out: TextIO, exc_info: ExcInfo) -> None:
    """Write a traceback indented, so that no line of it looks like a log line."""
    for line in _trace(exc_info).split("\n"):
        out.write(f"\n    {_UNPRINTABLE.sub(_escape, line)}")


class OncePerSecond:
    """A limit of one event per second: an error of every request would fill the disk."""

    def __init__(self, *, monotonic: Callable[[], float] = time.monotonic) -> None:
        self._monotonic = monotonic
        self._due_at = -math.inf
        self._suppressed = 0

    def due(self) -> int | None:
        """Return the number of suppressed events since the last one; None: suppress this one."""
        now = self._monotonic()
        if now < self._due_at:
            self._suppressed += 1
            return None
        self._due_at = now + 1
        suppressed, self._suppressed = self._suppressed, 0
        return suppressed


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
    # Events of structlog bypass the standard library's records, which cost time per event.
    structlog.configure(
        processors=[*shared, *shown],
        wrapper_class=structlog.make_filtering_bound_logger(settings.log_level),
        logger_factory=structlog.WriteLoggerFactory(stream),
        cache_logger_on_first_use=True,
    )
    structlog.contextvars.bind_contextvars(process=process)
