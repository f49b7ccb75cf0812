"""The command `up`: the whole hub in one process.

Embedded servers start before the event loop and stop after it. In between, all parts run under one
TaskGroup: if one ends, all end.
"""

import asyncio
import fcntl
import math
import os
import sys
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine, Iterator, Sequence
from contextlib import AsyncExitStack, ExitStack, asynccontextmanager, contextmanager
from datetime import datetime, timedelta
from functools import partial
from pathlib import Path
from typing import Any, TypeAlias

from core.clock import REAL_TIME, Clock
from core.settings import IngestSettings, UpSettings, load, loopback_of
from db import clock, roles
from db.pool import open_connection, open_pool
from solarhub import embedded, keys, plan, run_file
from solarhub.child import ChildProcess
from solarhub.errors import CommandError, database_reached
from solarhub.plan import Plan
from solarhub.process import (
    cannot_end_early,
    ignore_stop_signals,
    new_registry,
    run_part,
    run_until_stopped,
)
from solarhub.run_file import RunFile, without_user

_PART_STARTS_WITHIN_S = 30.0
_CHECK_SERVERS_EVERY_S = 0.5
_BROKER_POOL_MAX = 4
# Real time for which a device must be silent to be offline, however fast the hub's clock runs.
_SILENCE_MIN = timedelta(seconds=10)

# Chooses a clock after the time of the last change in the database, None if it is empty.
ClockAfter: TypeAlias = Callable[[datetime | None], Clock]


def _real_time(_: datetime | None) -> Clock:
    return REAL_TIME


def up(
    data: Path,
    work: Callable[[RunFile], Awaitable[None]],
    *,
    prepare: Callable[[ExitStack], None] | None = None,
    clock_after: ClockAfter = _real_time,
    interrupt: Callable[[], bool] = cannot_end_early,
) -> None:
    """Run the hub on a data directory until `work` returns, or until SIGTERM or Ctrl-C.

    `prepare` is called once the directory is locked. It may register cleanup on the stack.
    `clock_after` chooses the hub's clock; only an embedded database can have one of its own.
    At Ctrl-C `interrupt` may return True: `work` then comes to its end by itself.
    Raises CommandError.
    """
    data = data.resolve()
    data.mkdir(parents=True, exist_ok=True)
    settings = load(UpSettings)
    with ExitStack() as stack:
        stack.enter_context(_locked(data))
        run_file.remove(data)
        if prepare is not None:
            prepare(stack)
        ready = plan.make(data, settings, keys.load_or_create(data), stack)
        # Runs before the servers are stopped, so that a second Ctrl-C leaves none behind.
        stack.callback(ignore_stop_signals)
        run_until_stopped(_serve(data, ready, work, clock_after), interrupt=interrupt)


@contextmanager
def _locked(data: Path) -> Iterator[None]:
    """Hold the lock on this directory, so that no second `up` uses it."""
    with (data / "lock").open("a+") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            file.seek(0)
            raise CommandError(
                f"a hub already runs on {data} (process {file.read().strip() or 'unknown'}):"
                " stop it, or choose another --data directory"
            ) from None
        file.truncate(0)
        file.write(str(os.getpid()))
        file.flush()
        yield


async def _serve(
    data: Path,
    ready: Plan,
    work: Callable[[RunFile], Awaitable[None]],
    clock_after: ClockAfter,
) -> None:
    from db import schema  # imports SQLAlchemy; late for the reason given in `_parts`

    with database_reached():
        await schema.migrate(ready.database)
        hub_clock = await _set_clock(ready, clock_after)
    async with _parts_running(ready, hub_clock):
        run = _run_file(ready, hub_clock)
        run_file.write(data, run)
        try:
            await work(run)
        finally:
            run_file.remove(data)


async def _set_clock(ready: Plan, clock_after: ClockAfter) -> Clock:
    """Set the clock of the database and return it, before any part connects."""
    if not ready.owns_database:
        return REAL_TIME
    async with open_connection(ready.database, application_name="clock") as conn:
        chosen = clock_after(await clock.latest(conn))
        await clock.set_clock(conn, chosen)
    return chosen


@asynccontextmanager
async def _parts_running(ready: Plan, hub_clock: Clock) -> AsyncIterator[None]:
    parts = _parts(ready, hub_clock)
    async with AsyncExitStack() as stack:
        await _start_broker(ready, stack)
        async with asyncio.TaskGroup() as group:
            starting = {name: asyncio.Event() for name in parts}
            tasks = [
                group.create_task(run_part(name, run(started=starting[name])))
                for name, run in parts.items()
            ]
            tasks.append(group.create_task(watch(ready.servers)))
            for name, started in starting.items():
                await _until_started(name, started)
            yield
            for task in tasks:
                task.cancel()


def _parts(ready: Plan, hub_clock: Clock) -> dict[str, Callable[..., Coroutine[Any, Any, None]]]:
    """Return every part by name; each takes `started` and runs until it is cancelled."""
    # Imported late: this takes a second, during which processes started by `prepare` load as well.
    from api.http.server import run as run_api
    from ingest.service import run as run_ingest
    from realtime.relay import run as run_relay
    from realtime.server import run as run_realtime

    registry = new_registry()
    database, redis = ready.database, ready.redis
    ingest = _patient(ready.ingest, hub_clock)
    return {
        "ingester": partial(run_ingest, ingest, database, registry=registry, clock=hub_clock),
        "API": partial(run_api, ready.api, database, redis, registry=registry, clock=hub_clock),
        "relay": partial(run_relay, database, redis, registry=registry),
        "live feed": partial(
            run_realtime, ready.realtime, redis, database, registry=registry, clock=hub_clock
        ),
    }


def _patient(settings: IngestSettings, hub_clock: Clock) -> IngestSettings:
    """Return settings with which a fast clock takes no device offline between two readings."""
    offline_after = max(settings.offline_after, hub_clock.lasting(_SILENCE_MIN))
    return settings.model_copy(update={"offline_after": offline_after})


async def _start_broker(ready: Plan, stack: AsyncExitStack) -> None:
    if ready.broker is None:
        return
    pool = await stack.enter_async_context(
        open_pool(
            ready.database, application_name="broker", role=roles.INGEST, max_size=_BROKER_POOL_MAX
        )
    )
    await stack.enter_async_context(
        embedded.broker(
            pool,
            host=ready.broker.host,
            port=ready.broker.port,
            hub_password=ready.broker.hub_password,
            hub_first=True,
        )
    )


async def _until_started(name: str, started: asyncio.Event) -> None:
    try:
        async with asyncio.timeout(_PART_STARTS_WITHIN_S):
            await started.wait()
    except TimeoutError:
        raise CommandError(f"the {name} did not start in {_PART_STARTS_WITHIN_S:g} s") from None


async def watch(servers: Sequence[ChildProcess]) -> None:
    """Check the servers for ever. Raises CommandError when one has ended."""
    while True:
        for server in servers:
            server.ensure_running()
        await asyncio.sleep(_CHECK_SERVERS_EVERY_S)


def _run_file(ready: Plan, hub_clock: Clock) -> RunFile:
    """Return the addresses of the parts on this machine, whatever their public URLs are."""
    api, feed = ready.api, ready.realtime
    return RunFile(
        pid=os.getpid(),
        api_url=f"http://{loopback_of(api.api_host)}:{api.api_port}",
        realtime_url=f"ws://{loopback_of(feed.realtime_host)}:{feed.realtime_port}/ws",
        mqtt_url=without_user(ready.ingest.mqtt_url),
        database_url=ready.database.database_url,
        redis_url=ready.redis.redis_url,
        clock=None if hub_clock == REAL_TIME else str(hub_clock),
    )


async def serve(run: RunFile, seconds: float | None) -> None:
    """Print the hub's addresses, then wait: for `seconds`, or until cancelled."""
    for name, url in (
        ("API", run.api_url),
        ("live feed", run.realtime_url),
        ("MQTT", run.mqtt_url),
        ("database", run.database_url),
    ):
        sys.stdout.write(f"{name:>10}  {url}\n")
    sys.stdout.flush()
    await asyncio.sleep(math.inf if seconds is None else seconds)
