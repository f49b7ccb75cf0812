"""Secrets that `up` generates once and stores in its data directory, readable by the owner only."""

import json
import os
import secrets
from dataclasses import asdict, dataclass, field
from functools import partial
from pathlib import Path

_FILE = "keys.json"
_new_secret = partial(secrets.token_urlsafe, 32)


@dataclass(frozen=True, slots=True)
class Keys:
    """The secrets of one embedded hub."""

    jwt_secret: str = field(default_factory=_new_secret, repr=False)
    hub_password: str = field(default_factory=_new_secret, repr=False)
    webhook_secret: str = field(default_factory=_new_secret, repr=False)
    # A secret too: the broker hands a persistent session to any client that names its id.
    ingest_client_id: str = field(default_factory=lambda: f"ingest-{secrets.token_hex(16)}")


def load_or_create(data: Path) -> Keys:
    """Return the keys of this data directory; generate and store them at the first call."""
    if (stored := read(data)) is not None:
        return stored
    keys = Keys()
    write_private(data / _FILE, asdict(keys))
    return keys


def read(data: Path) -> Keys | None:
    try:
        return Keys(**json.loads((data / _FILE).read_text("utf-8")))
    except FileNotFoundError:
        return None


def write_private(path: Path, document: dict[str, object]) -> None:
    """Replace a JSON file atomically; only its owner can read it at any moment."""
    temporary = path.with_name(f".{path.name}.{os.getpid()}")
    descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    with os.fdopen(descriptor, "w", encoding="utf-8") as file:
        json.dump(document, file, indent=1)
        file.flush()
        os.fsync(file.fileno())
    temporary.replace(path)
