"""The floor of memory per socket: a server of the websockets library that does nothing.

python -m bench.bare_websockets PORT
"""

import asyncio
import sys

import uvloop
from websockets.asyncio.server import ServerConnection, serve

from bench.machine import raise_open_files_limit


async def hold(connection: ServerConnection) -> None:
    await connection.wait_closed()


async def run(port: int) -> None:
    async with serve(hold, "127.0.0.1", port, compression=None):
        await asyncio.Event().wait()


if __name__ == "__main__":
    raise_open_files_limit()
    uvloop.run(run(int(sys.argv[1])))
