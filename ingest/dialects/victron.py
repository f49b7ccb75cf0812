"""Victron GX: `N/<portal>/<service>/<instance>/<path>`, `{"value": …}`, one quantity per topic.

A GX publishes only while it is asked to (`victron_keepalive`), only what changed, and without a
time. `null` means that a quantity is not valid now, an empty payload that it no longer exists;
neither means zero.

Counters, in kWh, one per phase and device: `pvinverter/…/Energy/Forward` and, for panels on a
battery, `solarcharger/…/Yield/System` are generation; `grid/…/Energy/Reverse` is export and
`grid/…/Energy/Forward` import. Not used: the sums that some devices send beside their phases
(`Ac/Energy/…`), a charger's `Yield/User`, which its owner may reset, and settings.

Power is that of the inverters (`pvinverter/<i>/Ac/Power`, all phases of one), or else the GX's sum
by phase (`system/0/Ac/PvOnGrid/L1/Power`), plus that of the chargers. The power of one phase out of
several is not the device's power.
"""

import re
from collections.abc import Sequence
from datetime import datetime

from core.assembly import Known
from core.readings import RejectionReason
from ingest.dialects import NOTHING, DecodeResult, DeviceContext, reject
from ingest.dialects.values import (
    json_object,
    number,
    partial_reading_or_unknown,
    removed_part,
    total,
)

_INSTANCE = re.compile(r"[0-9]{1,5}")
_PHASES = ("L1", "L2", "L3")


def decode(levels: Sequence[str], payload: bytes, _: DeviceContext, __: datetime) -> DecodeResult:
    name, factor = _quantity(levels)
    if name is None:
        return NOTHING
    if not payload:
        return removed_part(name)
    message = json_object(payload)
    if message is None:
        return reject(RejectionReason.MALFORMED, "payload must be a JSON object")
    value = number(message.get("value"))
    return partial_reading_or_unknown({name: None if value is None else value * factor})


def _quantity(levels: Sequence[str]) -> tuple[str | None, float]:
    """Return the part of a reading that a topic holds, and the factor to its unit."""
    match tuple(levels):
        case ("system", "0", "Ac", "PvOnGrid" | "PvOnOutput" as side, phase, "Power"):
            return (f"power_w:{side}.{phase}" if phase in _PHASES else None), 1
        case ("system", "0", "Dc", "Pv", "Power"):
            return "power_w:Dc", 1
        case (service, instance, *_) if service != "system" and not _INSTANCE.fullmatch(instance):
            return None, 1
        case ("pvinverter", instance, "Ac", "Power"):
            return f"power_w:{instance}", 1
        case ("pvinverter", instance, "Ac", phase, "Energy", "Forward") if phase in _PHASES:
            return f"energy_wh:{instance}.{phase}", 1000
        case ("solarcharger", instance, "Yield", "System"):
            return f"energy_wh:{instance}.Yield", 1000
        case ("grid", instance, "Ac", phase, "Energy", "Reverse") if phase in _PHASES:
            return f"export_wh:{instance}.{phase}", 1000
        case ("grid", instance, "Ac", phase, "Energy", "Forward") if phase in _PHASES:
            return f"import_wh:{instance}.{phase}", 1000
        case ("system", "0", "Dc", "Battery", "Soc"):
            return "battery_soc_pct", 1
        case _:
            return None, 1


def power_w(known: Known) -> float | None:
    """Return the power of all panels, on inverters and chargers. None while a part is unknown."""
    powers = {name.partition(":")[2]: w for name, w in known.items() if name.startswith("power_w:")}
    charged = [w for name, w in powers.items() if name == "Dc"]
    inverters = [name for name in powers if name.isdecimal()]
    phases = [name for name in powers if "." in name]
    if not inverters and not phases:
        return total(charged)
    # An inverter or a phase with a counter contributes to the sum, so its power must be known too.
    counting = [name for name in known if name.startswith("energy_wh:")]
    counting_inverters = {
        name.partition(":")[2].partition(".")[0] for name in counting if ".L" in name
    }
    by_inverter = [powers.get(name) for name in counting_inverters.union(inverters)]
    known_phases = {name.partition(".")[2] for name in phases}
    counting_phases = {name.partition(".")[2] for name in counting}.intersection(_PHASES)
    by_phase = [powers[name] for name in phases] if counting_phases <= known_phases else []
    ac_w = total(by_inverter)
    return total([total(by_phase) if ac_w is None else ac_w, *charged])
