"""Which way energy flows through a device that counts in both: that depends on what it measures.

Forwards is out of an inverter, but into a house.
"""

from ingest.dialects import DeviceContext


def forwards(speaker: DeviceContext) -> str:
    return "import_wh" if speaker.is_meter else "energy_wh"


def backwards(speaker: DeviceContext) -> str:
    return "export_wh" if speaker.is_meter else "import_wh"


def power(value_w: float | None, speaker: DeviceContext) -> float | None:
    """Power as readings have it: positive when it is produced."""
    if value_w is None or not speaker.is_meter:
        return value_w
    return 0.0 - value_w
