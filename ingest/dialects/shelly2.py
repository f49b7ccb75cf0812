"""Shelly, second generation and later: JSON, a full status per component and partial notifications.

`<id>/status/<component>` is the whole status of a component, without a time. `<id>/events/rpc` with
`NotifyStatus` holds the values that changed, and their time `params.ts`. Both may report the same
measurement within milliseconds. Used are `switch:0`, `pm1:0`, `em1:0` with `em1data:0`, and `em:0`
with `emdata:0`, which have three phases. Components of a higher number measure another plug or
clamp, which is not the registered device.

Counters, in Wh. `switch` and `pm1`: energy that enters `ret_aenergy.total` (returned) enters
`aenergy.total` too. So the latter counts both directions, and forwards is the difference. A device
without `ret_aenergy` does not distinguish directions. `em1data` and `emdata`: `total_act_energy`
counts forwards only, `total_act_ret_energy` backwards only. Each of three phases has both (`a_…`,
`b_…`, `c_…`); `total_act` and `total_act_ret` are their sums. The fields for forwards and backwards
depend on what the device measures (`values.forward_counter`).
"""

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any

from core.readings import RETURN, RejectionReason
from ingest.dialects import NOTHING, OFFLINE, ONLINE, DecodeResult, DeviceContext, reject
from ingest.dialects.values import (
    backward_counter,
    forward_counter,
    json_object,
    nested_object,
    number,
    partial_reading,
    produced_power,
    unix_time,
)

_COMPONENTS = ("switch:0", "pm1:0", "em:0", "emdata:0", "em1:0", "em1data:0")
_PHASES = ("a", "b", "c")
_NOTIFICATIONS = ("NotifyStatus", "NotifyFullStatus")
_PRESENCE = {b"true": ONLINE, b"false": OFFLINE}


def decode(
    levels: Sequence[str], payload: bytes, device: DeviceContext, _: datetime
) -> DecodeResult:
    match tuple(levels):
        case ("status", component) if component in _COMPONENTS:
            status = json_object(payload)
            if status is None:
                return reject(RejectionReason.MALFORMED, "payload must be a JSON object")
            return partial_reading(_values(component, status, device))
        case ("events", "rpc"):
            return _notification(payload, device)
        case ("online",):
            return _PRESENCE.get(payload.strip().lower(), NOTHING)
        case _:
            return NOTHING


def _notification(payload: bytes, device: DeviceContext) -> DecodeResult:
    notification = json_object(payload)
    if notification is None:
        return reject(RejectionReason.MALFORMED, "payload must be a JSON object")
    if notification.get("method") not in _NOTIFICATIONS:
        return NOTHING
    params = nested_object(notification, "params")
    values = {
        name: value
        for component in _COMPONENTS
        for name, value in _values(component, nested_object(params, component), device).items()
        if value is not None
    }
    if not values:
        return NOTHING
    at = unix_time(number(params.get("ts")))
    if at is None and params.get("ts") is not None:
        return reject(RejectionReason.BAD_TIME, "params.ts: must be seconds since 1970")
    return partial_reading(values, at)


def _values(
    component: str, status: Mapping[str, Any], device: DeviceContext
) -> dict[str, float | None]:
    if component == "emdata:0":
        return _phases(status, device) or {
            forward_counter(device): number(status.get("total_act")),
            backward_counter(device): number(status.get("total_act_ret")),
        }
    if component == "em1data:0":
        return {
            forward_counter(device): number(status.get("total_act_energy")),
            backward_counter(device): number(status.get("total_act_ret_energy")),
        }
    if component == "em:0":
        return {
            "power_w": produced_power(number(status.get("total_act_power")), device),
            "current_a": number(status.get("total_current")),
            "voltage_v": number(status.get("a_voltage")),
            "frequency_hz": number(status.get("a_freq")),
        }
    active = "act_power" if component == "em1:0" else "apower"
    return {
        "power_w": produced_power(number(status.get(active)), device),
        "current_a": number(status.get("current")),
        "voltage_v": number(status.get("voltage")),
        "frequency_hz": number(status.get("freq")),
        "temperature_c": number(nested_object(status, "temperature").get("tC")),
        **_both_directions(status, device),
    }


def _phases(status: Mapping[str, Any], device: DeviceContext) -> dict[str, float | None]:
    """Return the counters of the phases that a status holds."""
    counters = {
        f"{name}:{phase}": number(status.get(f"{phase}_{counter}"))
        for phase in _PHASES
        for name, counter in (
            (forward_counter(device), "total_act_energy"),
            (backward_counter(device), "total_act_ret_energy"),
        )
    }
    return {name: value for name, value in counters.items() if value is not None}


def _both_directions(status: Mapping[str, Any], device: DeviceContext) -> dict[str, float | None]:
    """Return the counter of both directions, and the counter of returned energy."""
    returned_wh = number(nested_object(status, "ret_aenergy").get("total"))
    return {
        f"{forward_counter(device)}:0": number(nested_object(status, "aenergy").get("total")),
        f"{forward_counter(device)}:0{RETURN}": returned_wh,
        backward_counter(device): returned_wh,
    }
