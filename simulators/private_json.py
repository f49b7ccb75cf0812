"""Small JSON files that only their owner may read: simulated people keep secrets too."""

import json
import os
from pathlib import Path
from typing import Any


def read(path: Path) -> Any:
    """What was written there, or None."""
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        return None


def write(path: Path, document: object) -> None:
    """Replace the file as a whole: a reader sees the old text or the new one."""
    path.parent.mkdir(parents=True, exist_ok=True)
    fresh = path.with_name(f".{path.name}.{os.getpid()}")
    descriptor = os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    with os.fdopen(descriptor, "w", encoding="utf-8") as file:
        json.dump(document, file, indent=1)
    os.replace(fresh, path)
