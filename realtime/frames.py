"""The JSON of the protocol: what a client says, what it is told. Pure."""

import json
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from realtime.closing import CloseCode, Closing
from realtime.positions import FeedEntry

REQUEST_BYTES_MAX = 16 * 1024

# What many clients take in one frame without being asked to: 1 MiB. One event may be larger.
FRAME_BYTES_MAX = 256 * 1024
PIECE_BYTES_MAX = 64 * 1024


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


@dataclass(frozen=True, slots=True, eq=False)
class EncodedBatch:
    """Some events of one channel as they stand in an `events` frame."""

    encoded: bytes
    events: int


def pieces(channel: str, entries: Iterable[FeedEntry]) -> list[EncodedBatch]:
    """Events of a channel, in as many pieces as it takes to keep each of them small."""
    head = b'{"channel":"' + channel.encode() + b'","position":"'
    made: list[EncodedBatch] = []
    events: list[bytes] = []
    size_bytes = 0
    for entry in entries:
        event = head + str(entry.position).encode() + b'",' + entry.event[1:]
        if events and size_bytes + len(event) > PIECE_BYTES_MAX:
            made.append(EncodedBatch(b",".join(events), len(events)))
            events, size_bytes = [], 0
        events.append(event)
        size_bytes += len(event)
    return [*made, EncodedBatch(b",".join(events), len(events))]


def events_frames(pieces: Iterable[EncodedBatch]) -> list[tuple[bytes, int]]:
    """As few `events` frames as hold all pieces, in order, each with the number of its events."""
    frames: list[list[EncodedBatch]] = []
    size_bytes = FRAME_BYTES_MAX
    for piece in pieces:
        size_bytes += len(piece.encoded)
        if size_bytes > FRAME_BYTES_MAX:
            frames.append([])
            size_bytes = len(piece.encoded)
        frames[-1].append(piece)
    return [(_events_frame(frame), sum(piece.events for piece in frame)) for frame in frames]


def _events_frame(pieces: Iterable[EncodedBatch]) -> bytes:
    encoded = b",".join(piece.encoded for piece in pieces)
    return b'{"op":"events","events":[' + encoded + b"]}"
