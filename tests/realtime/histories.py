"""The history of a channel, as a client reads it that was disconnected from the start."""

import json
from typing import Any

from core.settings import RedisSettings
from realtime.bus import open_bus
from realtime.positions import ORIGIN, FeedPosition


async def history(settings: RedisSettings, channel: str) -> list[dict[str, Any]]:
    """Every event of a channel, in order."""
    async with open_bus(settings) as bus:
        epoch = (await bus.read(channel, None, count=0)).now.epoch
        at, told, more = FeedPosition(epoch, ORIGIN), [], True
        while more:
            page = await bus.read(channel, at, count=100)
            told += [json.loads(entry.event) for entry in page.entries]
            more = page.more
            at = page.entries[-1].position if page.entries else at
        return told
