"""How a process of ours runs until it is told to stop, and how it is watched."""

import asyncio
import faulthandler
import gc
import signal
from collections.abc import AsyncIterator, Coroutine
from contextlib import asynccontextmanager
from typing import Any

import uvloop
from prometheus_client import (
    CollectorRegistry,
    GCCollector,
    PlatformCollector,
    ProcessCollector,
    start_http_server,
)

from core.settings import MetricsSettings
from solarhub.errors import CommandError

STOP_WITHIN_S = 9.5
_STOP_SIGNALS = (signal.SIGINT, signal.SIGTERM)

# Python's own 700 looks for cycles several times per batch or request, of which few leave any: a
# fifth of the time of an API process went there.
_GARBAGE_THRESHOLDS = (50_000, 20, 100)


def run_until_stopped(work: Coroutine[Any, Any, None]) -> None:
    """Run until it is done, or until SIGTERM or Ctrl-C cancels it.

    A process that does not end in time then says where it hangs, and ends with code 1; the kernel
    ends its children.
    """
    gc.freeze()
    gc.set_threshold(*_GARBAGE_THRESHOLDS)
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(_until_signal(work))


async def _until_signal(work: Coroutine[Any, Any, None]) -> None:
    loop = asyncio.get_running_loop()
    task = loop.create_task(work)
    stopping = asyncio.Event()

    def stop() -> None:
        if not stopping.is_set():
            stopping.set()
            faulthandler.dump_traceback_later(STOP_WITHIN_S, exit=True)
            task.cancel()

    for number in _STOP_SIGNALS:
        loop.add_signal_handler(number, stop)
    try:
        await task
    except asyncio.CancelledError:
        if not stopping.is_set():
            raise
    except BaseExceptionGroup as group:
        raise root_cause(group) from group


def root_cause(error: BaseException) -> BaseException:
    """The first failure in a group of groups: what the others followed from."""
    while isinstance(error, BaseExceptionGroup):
        error = error.exceptions[0]
    return error


def ignore_stop_signals() -> None:
    """From now on: what they ask for is being done."""
    for number in _STOP_SIGNALS:
        signal.signal(number, signal.SIG_IGN)


async def run_part(name: str, work: Coroutine[Any, Any, None]) -> None:
    """Run what is meant to run for ever. Raises HubError, which names it, when it ends."""
    try:
        await work
    except Exception as error:
        cause = root_cause(error)
        what = str(cause) or type(cause).__name__
        raise CommandError(f"{name} failed: {what}") from error
    raise CommandError(f"{name} ended by itself")


def new_registry() -> CollectorRegistry:
    """A registry that knows the process already."""
    registry = CollectorRegistry()
    ProcessCollector(registry=registry)
    PlatformCollector(registry=registry)
    GCCollector(registry=registry)
    return registry


@asynccontextmanager
async def metrics_served(
    settings: MetricsSettings, registry: CollectorRegistry
) -> AsyncIterator[None]:
    """Serve metrics, and with them a sign of life, where a port is set for it."""
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
