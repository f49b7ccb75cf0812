"""The channels that a client may name, and what they are called inside. Pure."""

import re
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any
from uuid import UUID

from core.events import ADMIN, LISTINGS, device_channel, listing_channel, user_channel
from core.geo import RADIUS_MAX_KM
from core.ids import DeviceId, ListingId
from core.tokens import Identity
from realtime.circles import SubscribedCircle

NEAR = "listings:near"
_USER = "user"
_UUID = re.compile(r"[0-9a-fA-F]{8}(-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12}")


class ChannelRefused(Exception):
    """What a client asked for is answered with an error; it stays connected."""

    def __init__(self, code: str, message: str) -> None:
        self.code = code
        self.message = message
        super().__init__(message)


@dataclass(frozen=True, slots=True)
class Channel:
    """`name` is what its clients call it, `source` what its events are published on."""

    name: str
    source: str
    device_id: DeviceId | None = None
    circle: SubscribedCircle | None = None  # of `listings:near`, when asked for


def requested(frame: Mapping[str, Any], who: Identity) -> Channel:
    """The channel that somebody's subscribe asks for. Raises Refused."""
    channel = named(frame.get("channel"), who)
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


def named(name: object, who: Identity) -> Channel:
    """The channel that somebody calls so, without its circle. Raises Refused."""
    if not isinstance(name, str):
        raise ChannelRefused("bad_request", "channel must be a string")
    kind, _, rest = name.partition(":")
    if name in (LISTINGS, NEAR):
        return Channel(name, LISTINGS)
    if name == _USER:
        return Channel(_USER, user_channel(who.user_id))
    if name == ADMIN:
        if who.role != "admin":
            raise ChannelRefused("forbidden", "this channel is for administrators")
        return Channel(ADMIN, ADMIN)
    named_id = UUID(rest) if _UUID.fullmatch(rest) else None
    if named_id is not None and kind == "listing":
        source = listing_channel(ListingId(named_id))
        return Channel(source, source)
    if named_id is not None and kind == "device":
        device_id = DeviceId(named_id)
        source = device_channel(device_id)
        return Channel(source, source, device_id=device_id)
    if named_id is not None and kind == _USER:
        if named_id != who.user_id:
            raise ChannelRefused("forbidden", "this channel is another user's")
        return Channel(_USER, user_channel(who.user_id))
    raise ChannelRefused("unknown_channel", "there is no such channel")
