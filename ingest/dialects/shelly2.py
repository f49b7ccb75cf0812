"""Shelly, second generation and later: JSON, a full status per component and partial notices.

`<id>/status/<component>` is a component's whole status, without a time; `<id>/events/rpc` with
`NotifyStatus` holds what changed of some, and `params.ts`. Both may tell the same measurement
within milliseconds. Used are `switch:0`, `pm1:0`, `em1:0` with `em1data:0`, and `em:0` with
`emdata:0`, which tell three phases. Components of a higher number measure something else (another
plug, another clamp), which nobody has registered.

Counters, in Wh. `switch` and `pm1`: whatever enters `ret_aenergy.total` (returned) enters
`aenergy.total` too, so that this one counts both directions: forwards is what it counts beyond the
other. A device without `ret_aenergy` doesn't tell directions apart. `em1data` and `emdata`:
`total_act_energy` counts forwards only, `total_act_ret_energy` backwards; of three phases each has
both (`a_…`, `b_…`, `c_…`), and `total_act` and `total_act_ret` are their sums. What forwards and
backwards mean depends on what is measured (`directions`).
"""

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any

from core.readings import RETURN, RejectionReason
from ingest.dialects import NOTHING, OFFLINE, ONLINE, DecodeResult, DeviceContext, refuse
from ingest.dialects.directions import backwards, forwards, power
from ingest.dialects.values import document, number, object_in, part, unix_time

_COMPONENTS = ("switch:0", "pm1:0", "em:0", "emdata:0", "em1:0", "em1data:0")
_PHASES = ("a", "b", "c")
_NOTICES = ("NotifyStatus", "NotifyFullStatus")
_PRESENCE = {b"true": ONLINE, b"false": OFFLINE}


def decode(
    levels: Sequence[str], payload: bytes, speaker: DeviceContext, _: datetime
) -> DecodeResult:
    match tuple(levels):
        case ("status", component) if component in _COMPONENTS:
            status = document(payload)
            if status is None:
                return refuse(RejectionReason.MALFORMED, "payload must be a JSON object")
            return part(_values(component, status, speaker))
        case ("events", "rpc"):
            return _notice(payload, speaker)
        case ("online",):
            return _PRESENCE.get(payload.strip().lower(), NOTHING)
        case _:
            return NOTHING


def _notice(payload: bytes, speaker: DeviceContext) -> DecodeResult:
    notice = document(payload)
    if notice is None:
        return refuse(RejectionReason.MALFORMED, "payload must be a JSON object")
    if notice.get("method") not in _NOTICES:
        return NOTHING
    params = object_in(notice, "params")
    values = {
        name: value
        for component in _COMPONENTS
        for name, value in _values(component, object_in(params, component), speaker).items()
        if value is not None
    }
    if not values:
        return NOTHING
    at = unix_time(number(params.get("ts")))
    if at is None and params.get("ts") is not None:
        return refuse(RejectionReason.BAD_TIME, "params.ts: must be seconds since 1970")
    return part(values, at)


def _values(
    component: str, status: Mapping[str, Any], speaker: DeviceContext
) -> dict[str, float | None]:
    if component == "emdata:0":
        return _phases(status, speaker) or {
            forwards(speaker): number(status.get("total_act")),
            backwards(speaker): number(status.get("total_act_ret")),
        }
    if component == "em1data:0":
        return {
            forwards(speaker): number(status.get("total_act_energy")),
            backwards(speaker): number(status.get("total_act_ret_energy")),
        }
    if component == "em:0":
        return {
            "power_w": power(number(status.get("total_act_power")), speaker),
            "current_a": number(status.get("total_current")),
            "voltage_v": number(status.get("a_voltage")),
            "frequency_hz": number(status.get("a_freq")),
        }
    active = "act_power" if component == "em1:0" else "apower"
    return {
        "power_w": power(number(status.get(active)), speaker),
        "current_a": number(status.get("current")),
        "voltage_v": number(status.get("voltage")),
        "frequency_hz": number(status.get("freq")),
        "temperature_c": number(object_in(status, "temperature").get("tC")),
        **_two_ways(status, speaker),
    }


def _phases(status: Mapping[str, Any], speaker: DeviceContext) -> dict[str, float | None]:
    """The counters of the phases that a status tells."""
    told = {
        f"{name}:{phase}": number(status.get(f"{phase}_{counter}"))
        for phase in _PHASES
        for name, counter in (
            (forwards(speaker), "total_act_energy"),
            (backwards(speaker), "total_act_ret_energy"),
        )
    }
    return {name: value for name, value in told.items() if value is not None}


def _two_ways(status: Mapping[str, Any], speaker: DeviceContext) -> dict[str, float | None]:
    """A counter of both directions, and the one beside it of what is returned."""
    returned_wh = number(object_in(status, "ret_aenergy").get("total"))
    return {
        f"{forwards(speaker)}:0": number(object_in(status, "aenergy").get("total")),
        f"{forwards(speaker)}:0{RETURN}": returned_wh,
        backwards(speaker): returned_wh,
    }
