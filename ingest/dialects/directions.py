"""Which way energy flows through a device that counts in both: that depends on what it measures.

Forwards is out of an inverter, but into a house.
"""

from ingest.dialects import Speaker


def forwards(speaker: Speaker) -> str:
    return "import_wh" if speaker.is_meter else "energy_wh"


def backwards(speaker: Speaker) -> str:
    return "export_wh" if speaker.is_meter else "import_wh"


def power(value_w: float | None, speaker: Speaker) -> float | None:
    """Power as readings have it: positive when it is produced."""
    if value_w is None or not speaker.is_meter:
        return value_w
    return 0.0 - value_w
