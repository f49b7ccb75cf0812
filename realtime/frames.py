"""The JSON of the protocol: what a client says, what it is told. Pure."""

import json
from collections.abc import Iterable, Sequence
from typing import Any

from realtime.closing import CloseCode, Closing
from realtime.positions import Entry

FRAME_BYTES_MAX = 16 * 1024


def decode(message: str | bytes) -> dict[str, Any]:
    """What a client said. Raises Closing."""
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
    return json.dumps(frame, separators=(",", ":"))


def error(code: str, message: str, channel: object) -> dict[str, Any]:
    frame = {"op": "error", "code": code, "message": message}
    return {**frame, "channel": channel} if isinstance(channel, str) else frame


def fragment(channel: str, entries: Iterable[Entry]) -> bytes:
    """Events of a channel as they stand in an `events` frame, separated by commas."""
    head = b'{"channel":"' + channel.encode() + b'","position":"'
    return b",".join(
        head + str(entry.position).encode() + b'",' + entry.event[1:] for entry in entries
    )


def events_frame(fragments: Sequence[bytes]) -> bytes:
    return b'{"op":"events","events":[' + b",".join(fragments) + b"]}"
