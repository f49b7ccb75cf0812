"""The channels that a client may name, and what they are called inside. Pure."""

import re
from dataclasses import dataclass
from uuid import UUID

from core.events import LISTINGS, device_channel, listing_channel, user_channel

_USER = "user"
_UUID = re.compile(r"[0-9a-fA-F]{8}(-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12}")


class Refused(Exception):
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
    device_id: UUID | None = None


def parse(name: object, user_id: UUID) -> Channel:
    """The channel that a user means. Raises Refused."""
    if not isinstance(name, str):
        raise Refused("bad_request", "channel must be a string")
    kind, _, rest = name.partition(":")
    if name == LISTINGS:
        return Channel(LISTINGS, LISTINGS)
    if name == _USER:
        return Channel(_USER, user_channel(user_id))
    named_id = UUID(rest) if _UUID.fullmatch(rest) else None
    if named_id is not None and kind == "listing":
        source = listing_channel(named_id)
        return Channel(source, source)
    if named_id is not None and kind == "device":
        source = device_channel(named_id)
        return Channel(source, source, device_id=named_id)
    if named_id is not None and kind == _USER:
        if named_id != user_id:
            raise Refused("forbidden", "this channel is another user's")
        return Channel(_USER, user_channel(user_id))
    raise Refused("unknown_channel", "there is no such channel")


def shown(source: str) -> str:
    """What clients call a channel that is `source` inside."""
    return _USER if source.startswith("user:") else source
