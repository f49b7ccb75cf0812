"""The begin of a subscription: at the current position, or at the one where the client left off."""

import json
from collections.abc import Awaitable, Callable, Sequence

from realtime.bus import Bus
from realtime.feed_shard import HistoryPage
from realtime.hub import Hub
from realtime.positions import FeedEntry, FeedPosition, Offset
from realtime.protocol import (
    Channel,
    CloseCode,
    Closing,
    SubscribedCircle,
    encode,
    encoded_batches,
    events_frames,
)

PAGE_ENTRIES = 250

Send = Callable[[str | bytes], Awaitable[None]]


async def resume(bus: Bus, hub: Hub, channel: Channel, position: str | None, send: Send) -> Offset:
    """Answer a subscription and send the events that the client missed.

    The channel must be followed already. Returns the offset up to which the client has everything.
    The caller attaches the client to the hub there without waiting for anything in between. Raises
    BusUnavailable, Closing.
    """
    after = FeedPosition.parse(position) if position is not None else None
    page = await bus.read(channel.source, after, count=PAGE_ENTRIES)
    recovered = after is not None and page.complete
    at = after if recovered and after is not None else page.now
    subscribed = {"op": "subscribed", "channel": channel.name, "position": str(at)}
    await send(encode({**subscribed, "recovered": recovered if position is not None else None}))
    more = recovered and page.more
    if recovered:
        at = await _send_page(channel, page, at, send)
    # Events that are published meanwhile reach the hub before the client is attached to it. Read on
    # until the client has everything that the hub has seen: from then on there is no gap.
    while more or hub.seen(channel.source) > at.offset:
        page = await bus.read(channel.source, at, count=PAGE_ENTRIES)
        if not page.complete:
            raise Closing(CloseCode.SLOW, "events come faster than the client reads them")
        at = await _send_page(channel, page, at, send)
        more = page.more
    return at.offset


async def _send_page(
    channel: Channel, page: HistoryPage, at: FeedPosition, send: Send
) -> FeedPosition:
    """Send a page. Return the client's position after it."""
    if not page.entries:
        return at
    if wanted := _within(channel.circle, page.entries):
        for frame, _ in events_frames(encoded_batches(channel.name, wanted)):
            await send(frame)
    return page.entries[-1].position


def _within(circle: SubscribedCircle | None, entries: Sequence[FeedEntry]) -> Sequence[FeedEntry]:
    if circle is None:
        return entries
    placed = [(entry, json.loads(entry.event)["data"]) for entry in entries]
    return [entry for entry, at in placed if circle.holds(at["latitude"], at["longitude"])]
