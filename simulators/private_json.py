"""Small JSON files that only their owner can read: they hold simulated users' passwords."""

import json
import os
from pathlib import Path
from typing import Any


def read(path: Path) -> Any:
    """Return the document, or None if the file does not exist."""
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        return None


def write(path: Path, document: object) -> None:
    """Replace the file atomically: a reader sees the old document or the new one."""
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.{os.getpid()}")
    descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    with os.fdopen(descriptor, "w", encoding="utf-8") as file:
        json.dump(document, file, indent=1)
    os.replace(temporary, path)
