"""Case `memory`: resident memory of a hub per signed-in, idle socket."""

import sys
from functools import partial

import psutil

from bench import seed
from bench.database import audit, connected
from bench.feed_load import SOCKETS_PER_USER, feed, open_sockets
from bench.options import Options
from bench.processes import free_port, listens, running
from bench.result import Contestant, Result, Sample, Target
from bench.seed import BUYER

SOCKETS = 5_000
# Sockets opened before measuring, so that memory that is allocated once does not count.
_FIRST = 100


async def idle(options: Options) -> Result:
    """Measure resident memory of 5,000 sockets, against the library without a hub."""
    samples: dict[str, list[Sample]] = {"hub": [], "websockets": []}
    async with options.server.hub_database() as database:
        async with connected(database) as conn:
            users = await seed.people(conn, BUYER, SOCKETS // SOCKETS_PER_USER + _FIRST)
        for _ in range(options.rounds):
            async with feed(options, database) as running_feed:
                hub, process = running_feed.hub, running_feed.hub.child.psutil
                async with open_sockets(options, hub.port, _FIRST, users=users[-_FIRST:]):
                    before_bytes = process.memory_info().rss
                    async with open_sockets(options, hub.port, SOCKETS, users=users[:-_FIRST]):
                        samples["hub"].append(_per_socket(process, before_bytes))
            samples["websockets"].append(await _library(options))
        passed = await audit(database)
    hub_result = Contestant("hub", "signed in", samples["hub"])
    return Result(
        case="memory",
        what=f"resident memory of {SOCKETS:,} idle sockets",
        unit="KiB/socket",
        contestants=[hub_result, Contestant("websockets", "open", samples["websockets"])],
        targets=(Target("KiB per signed-in socket", 30, hub_result.per_s, at_most=True),),
        audit_passed=passed,
        parameters={"sockets": SOCKETS, "rounds": options.rounds},
    )


async def _library(options: Options) -> Sample:
    """Measure a server of the library that does nothing."""
    port = free_port()
    argv = (sys.executable, "-m", "bench.bare_websockets", str(port))
    async with running("bare", *argv, logs=options.work) as child:
        await child.ready(partial(listens, port))
        async with open_sockets(options, port, _FIRST, protocol="plain"):
            before_bytes = child.psutil.memory_info().rss
            async with open_sockets(options, port, SOCKETS, protocol="plain"):
                return _per_socket(child.psutil, before_bytes)


def _per_socket(process: psutil.Process, before_bytes: int) -> Sample:
    return Sample((process.memory_info().rss - before_bytes) / SOCKETS / 1024)
