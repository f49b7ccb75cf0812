"""Structured logging, set up once per process: one event per line, on stderr or where told.

Log with `structlog.get_logger()`: an event name in snake_case and facts as keywords. Values under
a key that names a secret are masked, wherever they come from.
"""

import logging
import re
import sys
from typing import TextIO

import structlog
from structlog.typing import EventDict, Processor, WrappedLogger

from core.settings import LogSettings

_names_a_secret = re.compile("password|secret|token|authorization|credential", re.IGNORECASE).search


def mask_secrets(_: WrappedLogger, __: str, event: EventDict) -> EventDict:
    for key in event:
        if _names_a_secret(key):
            event[key] = "***"
    return event


def set_up(settings: LogSettings, *, process: str, stream: TextIO = sys.stderr) -> None:
    """Route structlog and the standard library's loggers to one format and one stream."""
    json = settings.log_format == "json"
    shared: list[Processor] = [
        structlog.contextvars.merge_contextvars,
        structlog.processors.add_log_level,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
        mask_secrets,
    ]
    shown: list[Processor] = (
        [structlog.processors.format_exc_info, structlog.processors.JSONRenderer()]
        if json
        # Its own tracebacks would show what variables hold: passwords among them.
        else [
            structlog.dev.ConsoleRenderer(
                colors=stream.isatty(), exception_formatter=structlog.dev.plain_traceback
            )
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
