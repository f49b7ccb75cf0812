"""The feed's protocol: close codes, requests, channels and frames. Pure, without I/O."""

import json
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from enum import IntEnum
from typing import Any
from uuid import UUID

from core.events import ADMIN, LISTINGS, device_channel, listing_channel, user_channel
from core.geo import RADIUS_MAX_KM, covering_cells, distance_km
from core.ids import DeviceId, ListingId
from core.tokens import Identity
from realtime.positions import FeedEntry

# Limit of one frame from a client.
REQUEST_BYTES_MAX = 16 * 1024

# Limit of one frame to a client, well below the 1 MiB that WebSocket libraries accept by default.
# A single event may be larger.
FRAME_BYTES_MAX = 256 * 1024
# Limit of one encoded batch, so that batches of several channels share frames well.
BATCH_BYTES_MAX = 64 * 1024

NEAR = "listings:near"
_USER = "user"
_UUID = re.compile(r"[0-9a-fA-F]{8}(-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12}")


class CloseCode(IntEnum):
    """Codes of the WebSocket close frame, as the feed's contract lists them."""

    GOING_AWAY = 1001
    BAD_FRAME = 4400
    AUTH = 4401
    SLOW = 4408
    TOO_MANY_CONNECTIONS = 4429
    HUB_UNWELL = 4500


class Closing(Exception):
    """The client must be closed, with this code and reason."""

    def __init__(self, code: CloseCode, reason: str) -> None:
        self.code = code
        self.reason = reason
        super().__init__(reason)


class ChannelRefused(Exception):
    """A request is answered with an error frame; the client stays connected."""

    def __init__(self, code: str, message: str) -> None:
        self.code = code
        self.message = message
        super().__init__(message)


@dataclass(frozen=True, slots=True)
class SubscribedCircle:
    """A circle around a place in degrees; the events of `listings:near` lie inside it."""

    latitude: float
    longitude: float
    radius_km: float

    def holds(self, latitude: float, longitude: float) -> bool:
        """Return whether a place lies inside the circle or on its edge."""
        apart_km = distance_km(self.latitude, self.longitude, latitude, longitude)
        return apart_km <= self.radius_km

    def cells(self) -> list[str]:
        """Return names of cells that together cover the circle."""
        return covering_cells(self.latitude, self.longitude, self.radius_km)


@dataclass(frozen=True, slots=True)
class Channel:
    """A channel: `name` is the client's name for it, `source` the name that events have in Redis.

    `device_id` is set for `device:<id>`. `circle` is set for a subscription of `listings:near`.
    """

    name: str
    source: str
    device_id: DeviceId | None = None
    circle: SubscribedCircle | None = None


def decode(message: str | bytes) -> dict[str, Any]:
    """Return a client's frame. Raises Closing if it is not a JSON object in a text frame."""
    if isinstance(message, bytes):
        raise Closing(CloseCode.BAD_FRAME, "binary frames are not understood")
    try:
        frame = json.loads(message)
    except (ValueError, RecursionError):
        raise Closing(CloseCode.BAD_FRAME, "not JSON") from None
    if not isinstance(frame, dict):
        raise Closing(CloseCode.BAD_FRAME, "not a JSON object")
    return frame


def encode(frame: dict[str, Any]) -> str:
    """Return a frame as compact JSON."""
    return json.dumps(frame, separators=(",", ":"))


def error(code: str, message: str, channel: object) -> dict[str, Any]:
    """Return an error frame; it names the channel if the request did."""
    frame = {"op": "error", "code": code, "message": message}
    return {**frame, "channel": channel} if isinstance(channel, str) else frame


def requested_channel(frame: Mapping[str, Any], user: Identity) -> Channel:
    """Return the channel of a subscribe request. Raises ChannelRefused."""
    channel = channel_by_name(frame.get("channel"), user)
    if channel.name != NEAR:
        return channel
    circle = SubscribedCircle(
        latitude=_number(frame, "latitude", -90, 90),
        longitude=_number(frame, "longitude", -180, 180),
        radius_km=_number(frame, "radius_km", 0, RADIUS_MAX_KM),
    )
    if circle.radius_km == 0:
        raise ChannelRefused("bad_request", "radius_km must be more than 0")
    return replace(channel, circle=circle)


def _number(frame: Mapping[str, Any], name: str, least: float, most: float) -> float:
    value = frame.get(name)
    if isinstance(value, bool) or not isinstance(value, int | float) or not least <= value <= most:
        raise ChannelRefused("bad_request", f"{name} must be a number from {least} to {most}")
    return float(value)


def channel_by_name(name: object, user: Identity) -> Channel:
    """Return a channel by a client's name for it, without a circle. Raises ChannelRefused."""
    if not isinstance(name, str):
        raise ChannelRefused("bad_request", "channel must be a string")
    if name in (LISTINGS, NEAR):
        return Channel(name, LISTINGS)
    if name == _USER:
        return Channel(_USER, user_channel(user.user_id))
    if name == ADMIN:
        if user.role != "admin":
            raise ChannelRefused("forbidden", "this channel is for administrators")
        return Channel(ADMIN, ADMIN)
    return _channel_by_id(name, user)


def _channel_by_id(name: str, user: Identity) -> Channel:
    kind, _, rest = name.partition(":")
    named_id = UUID(rest) if _UUID.fullmatch(rest) else None
    if named_id is not None and kind == "listing":
        source = listing_channel(ListingId(named_id))
        return Channel(source, source)
    if named_id is not None and kind == "device":
        device_id = DeviceId(named_id)
        source = device_channel(device_id)
        return Channel(source, source, device_id=device_id)
    if named_id is not None and kind == _USER:
        if named_id != user.user_id:
            raise ChannelRefused("forbidden", "this channel is another user's")
        return Channel(_USER, user_channel(user.user_id))
    raise ChannelRefused("unknown_channel", "there is no such channel")


@dataclass(frozen=True, slots=True, eq=False)
class EncodedBatch:
    """Some events of one channel, encoded as items of an `events` frame."""

    encoded: bytes
    events: int


def encoded_batches(channel: str, entries: Iterable[FeedEntry]) -> list[EncodedBatch]:
    """Return a channel's events in batches of at most `BATCH_BYTES_MAX` or one event each."""
    head = b'{"channel":"' + channel.encode() + b'","position":"'
    batches: list[EncodedBatch] = []
    events: list[bytes] = []
    size_bytes = 0
    for entry in entries:
        event = head + str(entry.position).encode() + b'",' + entry.event[1:]
        if events and size_bytes + len(event) > BATCH_BYTES_MAX:
            batches.append(EncodedBatch(b",".join(events), len(events)))
            events, size_bytes = [], 0
        events.append(event)
        size_bytes += len(event)
    return [*batches, EncodedBatch(b",".join(events), len(events))]


def events_frames(batches: Iterable[EncodedBatch]) -> list[tuple[bytes, int]]:
    """Return as few `events` frames as contain all batches, in order, with their event counts."""
    frames: list[list[EncodedBatch]] = []
    size_bytes = FRAME_BYTES_MAX
    for batch in batches:
        size_bytes += len(batch.encoded)
        if size_bytes > FRAME_BYTES_MAX:
            frames.append([])
            size_bytes = len(batch.encoded)
        frames[-1].append(batch)
    return [(_events_frame(frame), sum(batch.events for batch in frame)) for frame in frames]


def _events_frame(batches: Iterable[EncodedBatch]) -> bytes:
    encoded = b",".join(batch.encoded for batch in batches)
    return b'{"op":"events","events":[' + encoded + b"]}"
