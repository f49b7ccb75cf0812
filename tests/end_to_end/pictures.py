"""Clients of the feed that keep what they were told, and the check of it for holes."""

from collections.abc import Callable, Iterator
from contextlib import aclosing
from dataclasses import dataclass, field
from typing import Any
from uuid import UUID

from core.events import EventType
from core.feed import FeedEvent, Reload, Subscription
from simulators.feed import FeedClient


@dataclass(frozen=True, slots=True)
class State:
    version: int
    status: str
    price_per_kwh: str


@dataclass(slots=True)
class Told:
    """Events that one client got of one listing without a break, after the state it loaded."""

    loaded: State
    events: list[FeedEvent] = field(default_factory=list)

    @property
    def newest(self) -> State:
        states = (self.loaded, *map(state_of, self.events))
        return max(states, key=lambda state: state.version)


def state_of(event: FeedEvent) -> State:
    return State(event.data["version"], event.data["status"], event.data["price_per_kwh"])


class Client:
    """Keeps a picture of one channel, as an app does: by the feed, and by loading when told to."""

    def __init__(self, subscription: Subscription, load: Callable[[], Any]) -> None:
        self.subscription = subscription
        self._load = load
        self.stretches: list[dict[UUID, Told]] = []

    async def run(self, feed: FeedClient) -> None:
        async with aclosing(feed.events()) as told:
            async for one in told:
                if isinstance(one, Reload):
                    picture = await self._load()
                    self.stretches.append(
                        {one_id: Told(state) for one_id, state in picture.items()}
                    )
                else:
                    self.stretches[-1][UUID(one.data["id"])].events.append(one)

    def picture(self) -> dict[UUID, State]:
        return {one_id: told.newest for one_id, told in self.stretches[-1].items()}

    def told(self) -> Iterator[tuple[UUID, Told]]:
        for stretch in self.stretches:
            yield from stretch.items()


def holes(told: Told, committed: dict[int, tuple[State, bool]]) -> Iterator[str]:
    """Yield what is wrong with the events that a client got of a listing."""
    known, last = told.loaded.version, 0
    for event in told.events:
        state = state_of(event)
        if state.version <= last:
            yield f"{state.version} came after {last}"
        last = state.version
        if state.version <= told.loaded.version:
            continue  # happened between subscribing and loading
        truth, is_update = committed.get(state.version, (None, False))
        if state != truth:
            yield f"{state} was told, and {truth} committed"
        if (event.type == EventType.LISTING_UPDATED) is not is_update:
            yield f"{state.version} was told as {event.type}"
        for missing in range(known + 1, state.version):
            if not committed[missing][1]:
                yield f"{missing} was never told, and {state.version} was"
        known = state.version
