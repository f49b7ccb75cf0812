"""No payload makes a decoder raise, and every decoded value is possible."""

import json
import re
from math import isfinite
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec import convert

from core.assembly import COUNTERS
from core.dialects import Dialect
from core.readings import FIELDS, Reading
from ingest.dialects import DecodeResult, native
from tests.ingest.dialects.decoding import decode
from tests.ingest.dialects.poison import PITFALLS, TOPICS

# Values that decoders interpret: their keywords, and numbers at the limits.
WORDS = re.findall(
    r"\S+",
    """
    Time ENERGY Total TotalStartTime ExportActive ImportActive Power Voltage Current
    Frequency StatusSNS em1:0 em1data:0 act_power total_act_energy total_act_ret_energy
    method params ts NotifyStatus switch:0 em:0 emdata:0 apower aenergy ret_aenergy total total_act
    total_act_power temperature tC value P_AC YieldTotal device time buffered values pvpowerout
    pvenergytotal etogrid_tot rev_act_energy pos_rev_act_power NTCIA00001 bn bt bu bv bs bver n u v
    s t vs W Wh kWh J energy export import must_ 2026-03-01T12:00:00 2026-03-01T12:00:00+05:30
    0001-01-01T00:00:00 9999-12-31T23:59:59
    """,
)
EDGES = [
    0,
    -0.0,
    1e308,
    -1e308,
    5e-324,
    2**63,
    2**64,
    10**400,
    -(10**400),
    4294967.295,
    2**28,
    1e15,
]

words = st.sampled_from(WORDS) | st.text(max_size=5)
scalars = st.none() | st.booleans() | words | st.sampled_from(EDGES) | st.floats() | st.integers()
documents = st.recursive(
    scalars,
    lambda inner: st.lists(inner, max_size=5) | st.dictionaries(words, inner, max_size=8),
    max_leaves=30,
)
payloads = (
    st.binary(max_size=200)
    | st.sampled_from(PITFALLS)
    | documents.map(lambda value: json.dumps(value).encode())
    | st.floats().map(lambda value: str(value).encode())
)

WHOLE: dict[str, Any] = {
    "tele/plug/SENSOR": {
        "Time": "2026-03-01T12:00:00",
        "ENERGY": {"TotalStartTime": "2026-01-01T00:00:00", "Total": 1.5, "Power": [1, 2],
                   "Voltage": [230, 0.1], "Frequency": 50, "ExportActive": [1, 2]},
    },
    "pm/events/rpc": {"method": "NotifyStatus", "params": {"ts": 1788945292.88, "switch:0": {
        "apower": 11.5, "aenergy": {"total": 152669.987}, "temperature": {"tC": 55}}}},
    "stat/plug/STATUS10": {"StatusSNS": {"Time": "2026-03-01T12:00:00", "ENERGY": {
        "TotalStartTime": "2026-01-01T00:00:00", "Total": 1.5, "Power": 3}}},
    "pm/status/em1data:0": {"total_act_energy": 6644.9, "total_act_ret_energy": 2595.26},
    "pm/status/emdata:0": {"total_act": 2589773.39, "total_act_ret": 1026.61},
    "inverter/HM/ch0": {"P_AC": 120, "YieldTotal": 465.294, "ts": 1672155690},
    "senml/roof": [{"bn": "roof:", "bt": 1772346600, "bu": "W", "n": "power", "v": 1, "s": 5},
                   {"n": "energy", "u": "kWh", "v": 5, "t": -60}],
    "N/c0619aba2ebd/pvinverter/20/Ac/L1/Energy/Forward": {"value": 98.08},
    "energy/growatt/NTCIA00001": {"device": "NTCIA00001", "time": "2026-03-01T12:00:00",
                                  "values": {"pvpowerout": 1, "pvenergytotal": 5264}},
}  # fmt: skip


def check(result: DecodeResult | None) -> None:
    if result is None:
        return
    for reading in result.decoded.readings:
        assert reading.has_measurement
        assert reading.time is None or reading.time.utcoffset() is not None
        convert({name: getattr(reading, name) for name in FIELDS}, Reading)
    for rejected in result.decoded.rejected:
        assert str(rejected).encode("utf-8", "strict")
    for name, value in (result.partial.values if result.partial else {}).items():
        field = name.partition(":")[0]
        assert field in FIELDS
        assert value is None or isfinite(value)
        assert value is None or field not in COUNTERS or value >= 0


@pytest.mark.parametrize("dialect", sorted(TOPICS))
@given(payload=payloads, data=st.data(), is_meter=st.booleans())
def test_no_payload_makes_a_decoder_raise(
    dialect: Dialect, payload: bytes, data: st.DataObject, is_meter: bool
) -> None:
    check(decode(data.draw(st.sampled_from(TOPICS[dialect])), payload, is_meter=is_meter))


@pytest.mark.parametrize("topic", sorted(WHOLE))
@given(data=st.data())
def test_no_value_in_a_valid_message_makes_a_decoder_raise(topic: str, data: st.DataObject) -> None:
    message = _changed(WHOLE[topic], data.draw(st.integers(0, 20)), data.draw(documents))
    check(decode(topic, message))


def _changed(value: Any, place: int, by: Any) -> Any:
    """Replace one of the inner values of a value; an index beyond the last replaces the whole."""
    items = list(value.items() if isinstance(value, dict) else enumerate(value))
    changed = dict(items) if isinstance(value, dict) else list(value)
    for key, inner in items:
        if place == 0:
            changed[key] = by
            return changed
        place -= 1
        if isinstance(inner, dict | list):
            changed[key] = _changed(inner, place, by)
            return changed
    return by


@pytest.mark.parametrize("topic", sorted(WHOLE))
@given(data=st.data())
def test_no_changed_byte_makes_a_decoder_raise(topic: str, data: st.DataObject) -> None:
    raw = bytearray(json.dumps(WHOLE[topic]).encode())
    for _ in range(data.draw(st.integers(1, 5))):
        at = data.draw(st.integers(0, len(raw) - 1))
        raw[at : at + data.draw(st.integers(0, 3))] = data.draw(st.binary(max_size=3))
        if not raw:
            break
    check(decode(topic, bytes(raw)))


@given(
    topic=st.lists(
        st.sampled_from([*WORDS, "solar", "tele", "N", "energy", "growatt", "", "+"])
    ).map("/".join)
    | st.text(),
    payload=payloads,
)
def test_no_topic_makes_a_decoder_raise(topic: str, payload: bytes) -> None:
    check(decode(topic, payload))


@given(payload=payloads | documents.map(lambda value: json.dumps([value]).encode()))
def test_no_payload_makes_the_native_decoder_raise(payload: bytes) -> None:
    check(DecodeResult(native.decode_telemetry(payload)))
    check(DecodeResult(native.decode_status(payload)))
