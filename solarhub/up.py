"""`solarhub up`: the whole hub in one process.

Servers out of wheels start before the event loop and end after it. In between, all parts run under
one TaskGroup: if one ends, all end.
"""

import asyncio
import fcntl
import math
import os
import sys
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine, Iterator, Sequence
from contextlib import AsyncExitStack, ExitStack, asynccontextmanager, contextmanager
from functools import partial
from pathlib import Path
from typing import Any

from core.settings import UpSettings, load, near
from db import roles
from db.pool import open_pool
from solarhub import embedded, keys, plan
from solarhub.child import ChildProcess
from solarhub.errors import CommandError, database_reached
from solarhub.plan import Plan
from solarhub.process import ignore_stop_signals, new_registry, run_part, run_until_stopped
from solarhub.run_file import RunFile, announce, withdraw, without_user

_PART_STARTS_WITHIN_S = 30.0
_LOOK_AFTER_SERVERS_EVERY_S = 0.5
_BROKER_POOL_MAX = 4


def up(
    data: Path,
    work: Callable[[RunFile], Awaitable[None]],
    *,
    prepare: Callable[[ExitStack], None] | None = None,
) -> None:
    """Run the hub on a data directory for as long as `work` takes, or until told to stop.

    `prepare` is called once the directory is ours, and may put on the stack what is to end with us.
    """
    data = data.resolve()
    data.mkdir(parents=True, exist_ok=True)
    settings = load(UpSettings)
    with ExitStack() as stack:
        stack.enter_context(_locked(data))
        withdraw(data)
        if prepare is not None:
            prepare(stack)
        ready = plan.make(data, settings, keys.keep(data), stack)
        stack.callback(ignore_stop_signals)
        run_until_stopped(_serve(data, ready, work))


@contextmanager
def _locked(data: Path) -> Iterator[None]:
    """Keep a second `up` off this directory, as long as this process lives."""
    with (data / "lock").open("a+") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            file.seek(0)
            raise CommandError(
                f"a hub runs on {data} already (process {file.read().strip() or 'unknown'}):"
                " stop it, or give another --data"
            ) from None
        file.truncate(0)
        file.write(str(os.getpid()))
        file.flush()
        yield


async def _serve(data: Path, ready: Plan, work: Callable[[RunFile], Awaitable[None]]) -> None:
    from db import schema  # with all of SQLAlchemy: see `_works`

    with database_reached():
        await schema.migrate(ready.database)
    async with _parts_running(ready):
        run = _whereabouts(ready)
        announce(data, run)
        try:
            await work(run)
        finally:
            withdraw(data)


@asynccontextmanager
async def _parts_running(ready: Plan) -> AsyncIterator[None]:
    works = _works(ready)
    async with AsyncExitStack() as stack:
        await _start_broker(ready, stack)
        async with asyncio.TaskGroup() as group:
            starting = {name: asyncio.Event() for name in works}
            tasks = [
                group.create_task(run_part(name, work(started=starting[name])))
                for name, work in works.items()
            ]
            tasks.append(group.create_task(look_after(ready.servers)))
            for name, started in starting.items():
                await _until_started(name, started)
            yield
            for task in tasks:
                task.cancel()


def _works(ready: Plan) -> dict[str, Callable[..., Coroutine[Any, Any, None]]]:
    """Every part; each takes `started` and runs until it is cancelled."""
    # Not above: they take a second to load, in which whatever `prepare` started gets ready too.
    from api.http.server import run as run_api
    from ingest.service import run as run_ingest
    from realtime.relay import run as run_relay
    from realtime.server import run as run_realtime

    registry = new_registry()
    database, redis = ready.database, ready.redis
    return {
        "ingester": partial(run_ingest, ready.ingest, database, registry=registry),
        "API": partial(run_api, ready.api, database, redis, registry=registry),
        "relay": partial(run_relay, database, redis, registry=registry),
        "live feed": partial(run_realtime, ready.realtime, redis, database, registry=registry),
    }


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


async def look_after(servers: Sequence[ChildProcess]) -> None:
    """Raises HubError when a server ends that should not."""
    while True:
        for server in servers:
            server.ensure_running()
        await asyncio.sleep(_LOOK_AFTER_SERVERS_EVERY_S)


def _whereabouts(ready: Plan) -> RunFile:
    """Where the parts are for who is on this machine, whatever the world calls them."""
    api, feed = ready.api, ready.realtime
    return RunFile(
        pid=os.getpid(),
        api_url=f"http://{near(api.api_host)}:{api.api_port}",
        realtime_url=f"ws://{near(feed.realtime_host)}:{feed.realtime_port}/ws",
        mqtt_url=without_user(ready.ingest.mqtt_url),
        database_url=ready.database.database_url,
        redis_url=ready.redis.redis_url,
    )


async def serve(run: RunFile, seconds: float | None) -> None:
    """Tell where the hub is, and let it run: for so long, or until it is told to stop."""
    for what, url in (
        ("API", run.api_url),
        ("live feed", run.realtime_url),
        ("MQTT", run.mqtt_url),
        ("database", run.database_url),
    ):
        sys.stdout.write(f"{what:>10}  {url}\n")
    sys.stdout.flush()
    await asyncio.sleep(math.inf if seconds is None else seconds)
