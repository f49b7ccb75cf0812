"""Secrets that `up` makes once and keeps in its data directory, for its owner's eyes only."""

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
    """`ingest_client_id` is one of them: the broker gives a session to whoever names it."""

    jwt_secret: str = field(default_factory=_new_secret, repr=False)
    hub_password: str = field(default_factory=_new_secret, repr=False)
    webhook_secret: str = field(default_factory=_new_secret, repr=False)
    ingest_client_id: str = field(default_factory=lambda: f"ingest-{secrets.token_hex(16)}")


def keep(data: Path) -> Keys:
    """The keys of this data directory, made at the first call."""
    if (kept := read(data)) is not None:
        return kept
    keys = Keys()
    write_private(data / _FILE, asdict(keys))
    return keys


def read(data: Path) -> Keys | None:
    try:
        return Keys(**json.loads((data / _FILE).read_text("utf-8")))
    except FileNotFoundError:
        return None


def write_private(path: Path, document: dict[str, object]) -> None:
    """Replace a JSON file as a whole; nobody but its owner may read it at any moment."""
    fresh = path.with_name(f".{path.name}.{os.getpid()}")
    descriptor = os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    with os.fdopen(descriptor, "w", encoding="utf-8") as file:
        json.dump(document, file, indent=1)
        file.flush()
        os.fsync(file.fileno())
    fresh.replace(path)
