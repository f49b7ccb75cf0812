"""The native payload, as a device writes it."""

import json
from collections.abc import Sequence

from core.readings import FIELDS, Reading
from core.units import rfc3339

MESSAGE_MAX_READINGS = 1000


def encode(readings: Sequence[Reading]) -> str:
    """One object for one reading, an array for more; what was not measured is left out."""
    documents = [_document(reading) for reading in readings]
    return json.dumps(documents[0] if len(documents) == 1 else documents, allow_nan=False)


def _document(reading: Reading) -> dict[str, object]:
    document = {name: getattr(reading, name) for name in FIELDS}
    if reading.time is not None:
        document["time"] = rfc3339(reading.time)
    return {name: value for name, value in document.items() if value is not None}
