"""What the websockets library holds for a connection by itself: a server that does nothing.

python -m bench.bare PORT
"""

import asyncio
import sys

import uvloop
from websockets.asyncio.server import ServerConnection, serve

from bench.machine import raise_open_files_limit


async def attend(connection: ServerConnection) -> None:
    await connection.wait_closed()


async def run(port: int) -> None:
    async with serve(attend, "127.0.0.1", port, compression=None):
        await asyncio.Event().wait()


if __name__ == "__main__":
    raise_open_files_limit()
    uvloop.run(run(int(sys.argv[1])))
