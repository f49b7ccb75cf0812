"""The life of a process: run until a signal, collect garbage rarely, serve metrics."""

import asyncio
import faulthandler
import gc
import resource
import signal
from collections.abc import AsyncIterator, Callable, Coroutine
from contextlib import asynccontextmanager, suppress
from typing import Any

import uvloop
from prometheus_client import (
    CollectorRegistry,
    GCCollector,
    PlatformCollector,
    ProcessCollector,
    start_http_server,
)

from core.exceptions import root_cause
from core.settings import MetricsSettings
from solarhub.errors import CommandError

# Just below the 10 s that a process has to end after SIGTERM.
STOP_WITHIN_S = 9.5
_STOP_SIGNALS = (signal.SIGINT, signal.SIGTERM)

# With Python's default of 700 allocations, the collector runs several times per batch or request
# and finds few cycles. It took a fifth of the CPU time of an API process.
_GARBAGE_THRESHOLDS = (50_000, 20, 100)

# Each connection is an open file. Most systems allow a process 1,024, which a stranger could use up
# with connections that say nothing, and more on request.
_OPEN_FILES = 65_536


def cannot_end_early() -> bool:
    """Leave Ctrl-C to `run_until_stopped`."""
    return False


def run_until_stopped(
    work: Coroutine[Any, Any, None], *, interrupt: Callable[[], bool] = cannot_end_early
) -> None:
    """Run `work` to its end, or until SIGTERM or Ctrl-C cancels it.

    At Ctrl-C `interrupt` may return True instead: `work` then comes to its end by itself.

    A process that does not end within STOP_WITHIN_S prints its stack and exits with code 1. The
    kernel then ends its children.
    """
    _allow_open_files()
    gc.freeze()
    gc.set_threshold(*_GARBAGE_THRESHOLDS)
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(_until_signal(work, interrupt))


def _allow_open_files() -> None:
    """Raise this process's limit of open files, as far as the system lets it."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft != resource.RLIM_INFINITY:
        wanted = _OPEN_FILES if hard == resource.RLIM_INFINITY else min(hard, _OPEN_FILES)
        with suppress(ValueError, OSError):  # macOS allows fewer than it says
            resource.setrlimit(resource.RLIMIT_NOFILE, (max(soft, wanted), hard))


async def _until_signal(work: Coroutine[Any, Any, None], interrupt: Callable[[], bool]) -> None:
    loop = asyncio.get_running_loop()
    task = loop.create_task(work)
    stopping = asyncio.Event()

    def stop() -> None:
        # Only the first signal cancels: a second one would interrupt the cleanup.
        if not stopping.is_set():
            stopping.set()
            faulthandler.dump_traceback_later(STOP_WITHIN_S, exit=True)
            task.cancel()

    def stop_unless_interrupted() -> None:
        if not interrupt():
            stop()

    loop.add_signal_handler(signal.SIGTERM, stop)
    loop.add_signal_handler(signal.SIGINT, stop_unless_interrupted)
    try:
        await task
    except asyncio.CancelledError:
        if not stopping.is_set():
            raise
    except BaseExceptionGroup as group:
        raise root_cause(group) from group


def ignore_stop_signals() -> None:
    """Ignore further stop signals: the process is stopping already."""
    for number in _STOP_SIGNALS:
        signal.signal(number, signal.SIG_IGN)


async def run_part(name: str, work: Coroutine[Any, Any, None]) -> None:
    """Run a part that should never end. Raises CommandError with its name when it does."""
    try:
        await work
    except Exception as error:
        cause = root_cause(error)
        raise CommandError(f"{name} failed: {str(cause) or type(cause).__name__}") from error
    raise CommandError(f"{name} ended unexpectedly")


def new_registry() -> CollectorRegistry:
    """Return a registry with the metrics of the process, the platform and the collector."""
    registry = CollectorRegistry()
    ProcessCollector(registry=registry)
    PlatformCollector(registry=registry)
    GCCollector(registry=registry)
    return registry


@asynccontextmanager
async def metrics_served(
    settings: MetricsSettings, registry: CollectorRegistry
) -> AsyncIterator[None]:
    """Serve metrics on SOLARHUB_METRICS_PORT, if set; the endpoint is the health check too."""
    if settings.metrics_port is None:
        yield
        return
    try:
        server, thread = start_http_server(
            settings.metrics_port, settings.metrics_host, registry=registry
        )
    except OSError as error:
        raise CommandError(
            f"SOLARHUB_METRICS_PORT {settings.metrics_port}: {error.strerror}"
        ) from None
    try:
        yield
    finally:
        server.shutdown()
        server.server_close()
        thread.join(1)
