"""How a subscription begins: at this moment, or where the client was."""

import json
from collections.abc import Awaitable, Callable, Sequence

from realtime.bus import Bus
from realtime.channels import Channel
from realtime.circles import SubscribedCircle
from realtime.closing import CloseCode, Closing
from realtime.feed_shard import HistoryPage
from realtime.frames import encode, events_frames, pieces
from realtime.hub import Hub
from realtime.positions import FeedEntry, FeedPosition, Offset

PAGE_ENTRIES = 250

Send = Callable[[str | bytes], Awaitable[None]]


async def resume(bus: Bus, hub: Hub, channel: Channel, position: str | None, send: Send) -> Offset:
    """Tell a client how its subscription begins, and send what it missed.

    The channel must be followed. Returns the offset that the client knows everything until; the
    caller attaches it to the hub there before anything else happens. Raises BusAway, Closing.
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
    # What is published while this goes on reaches the hub before the client is attached to it: read
    # on until the hub has seen nothing that the client does not know.
    while more or hub.seen(channel.source) > at.offset:
        page = await bus.read(channel.source, at, count=PAGE_ENTRIES)
        if not page.complete:
            raise Closing(CloseCode.SLOW, "the feed moves on faster than it is read")
        at = await _send_page(channel, page, at, send)
        more = page.more
    return at.offset


async def _send_page(
    channel: Channel, page: HistoryPage, at: FeedPosition, send: Send
) -> FeedPosition:
    """Returns the position that the client is at then."""
    if not page.entries:
        return at
    if wanted := _within(channel.circle, page.entries):
        for frame, _ in events_frames(pieces(channel.name, wanted)):
            await send(frame)
    return page.entries[-1].position


def _within(circle: SubscribedCircle | None, entries: Sequence[FeedEntry]) -> Sequence[FeedEntry]:
    if circle is None:
        return entries
    placed = [(entry, json.loads(entry.event)["data"]) for entry in entries]
    return [entry for entry, at in placed if circle.holds(at["latitude"], at["longitude"])]
