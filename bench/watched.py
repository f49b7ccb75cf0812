"""An ingester that logs the delay of its event loop.

    python -m bench.watched FILE

Appends a line to the file for every tenth of a second: its end as Unix time in seconds, and the
longest delay of the event loop within it in milliseconds.
"""

import asyncio
import sys
import time
from pathlib import Path

from core.settings import DatabaseSettings, IngestSettings
from ingest.service import run
from solarhub.process import new_registry, run_until_stopped

_TICK_S = 0.002
_LINE_EVERY_S = 0.1


async def _ingest(file: Path) -> None:
    async with asyncio.TaskGroup() as tasks:
        tasks.create_task(_log_delays(file))
        tasks.create_task(
            run(
                IngestSettings(),
                DatabaseSettings(),
                registry=new_registry(),
                started=asyncio.Event(),
            )
        )


async def _log_delays(file: Path) -> None:
    loop = asyncio.get_running_loop()
    with file.open("a", buffering=1) as lines:
        while True:
            longest_s, ends_at = 0.0, loop.time() + _LINE_EVERY_S
            while (now := loop.time()) < ends_at:
                await asyncio.sleep(_TICK_S)
                longest_s = max(longest_s, loop.time() - now - _TICK_S)
            lines.write(f"{time.time():.3f} {longest_s * 1000:.2f}\n")


if __name__ == "__main__":
    run_until_stopped(_ingest(Path(sys.argv[1])))
