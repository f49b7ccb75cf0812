"""A real Mosquitto, set up as deployments should set it up for the hub."""

import getpass
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from functools import partial
from pathlib import Path

from bench.processes import Served, free_port, listens, running

# Above what the ingester holds unacknowledged, so that the broker never waits for it.
INFLIGHT_MAX = 4000

_CONFIG = """
listener {port} 127.0.0.1
allow_anonymous true
user {user}
persistence true
persistence_location {directory}/
max_inflight_messages {inflight_max}
max_queued_messages 0
max_queued_bytes 0
set_tcp_nodelay true
log_dest stderr
log_type error
log_type warning
"""


@asynccontextmanager
async def mosquitto(directory: Path) -> AsyncIterator[Served]:
    """Run a broker with its queue in `directory`."""
    port = free_port()
    config = directory / "mosquitto.conf"
    config.write_text(
        _CONFIG.format(
            port=port, user=getpass.getuser(), directory=directory, inflight_max=INFLIGHT_MAX
        )
    )
    async with running("mosquitto", "mosquitto", "-c", str(config), logs=directory) as child:
        await child.ready(partial(listens, port))
        yield Served(port, child)
