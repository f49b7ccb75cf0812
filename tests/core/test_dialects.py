"""Topics of each firmware: no external id reaches the topics of another device."""

from uuid import UUID

import pytest
from hypothesis import given
from hypothesis import strategies as st

from core.dialects import Dialect, external_id_fault, topics_of

DEVICE = UUID("3f0c0e0e-2f6c-4d3e-9f1a-6b1f0e6a9a11")
OTHER = UUID("7d1b8c52-51c4-4c9e-8a53-0e2f94c6d1b7")
NAMES = {
    Dialect.OPENDTU: "114182940773",
    Dialect.SHELLY1: "shellyem3-68C63AFAF952",
    Dialect.SHELLY2: "shellypro3em-aabbccddeeff",
    Dialect.TASMOTA: "tasmota_8BD1DC",
    Dialect.SENML: "urn:dev:ow:10e2073a01080063",
    Dialect.AHOY: "HM-600",
    Dialect.VICTRON: "c0619aba2ebd",
    Dialect.GROTT: "NTCIA00001",
}
FIRMWARES = sorted(NAMES)


def overlap(one: str, other: str) -> bool:
    """Return True if some topic matches both filters (MQTT 3.1.1, section 4.7)."""
    a, b = one.split("/"), other.split("/")
    for n in range(max(len(a), len(b))):
        left, right = a[n : n + 1], b[n : n + 1]
        if "#" in (*left, *right):
            return True
        if not left or not right or not (left == right or "+" in (*left, *right)):
            return a[n:] == ["#"] or b[n:] == ["#"]
    return True


def test_a_native_device_has_its_four_topics() -> None:
    topics = topics_of(DEVICE, Dialect.NATIVE, None)
    assert topics.publish == (f"solar/{DEVICE}/telemetry", f"solar/{DEVICE}/status")
    assert topics.read == (f"solar/{DEVICE}/ack", f"solar/{DEVICE}/command")


@pytest.mark.parametrize("dialect", FIRMWARES)
def test_a_firmware_publishes_under_its_own_name_and_has_an_ack_topic(
    dialect: Dialect,
) -> None:
    topics = topics_of(DEVICE, dialect, NAMES[dialect])
    assert external_id_fault(dialect, NAMES[dialect]) is None
    assert all(NAMES[dialect] in topic.split("/") for topic in topics.publish)
    assert topics.ack == f"solar/{DEVICE}/ack"
    assert topics.read[0] == topics.ack
    assert topics.command in topics.read


@pytest.mark.parametrize("dialect", FIRMWARES)
@pytest.mark.parametrize("name", [None, "", "#", "+", "a/b", "a#", "$SYS", "ä", "a\0", "a\n"])
def test_a_name_that_is_no_topic_level_is_refused(dialect: Dialect, name: str | None) -> None:
    assert external_id_fault(dialect, name)


@pytest.mark.parametrize(
    ("dialect", "name"),
    [
        (Dialect.OPENDTU, str(DEVICE)),
        (Dialect.OPENDTU, "ac"),
        (Dialect.OPENDTU, "dtu"),
        (Dialect.SHELLY1, "announce"),
        (Dialect.SHELLY2, "solar"),
        (Dialect.SHELLY2, "tele"),
        (Dialect.SHELLY2, "N"),
        (Dialect.SHELLY2, "R"),
        (Dialect.SHELLY2, "energy"),
        (Dialect.TASMOTA, "tasmotas"),
        (Dialect.AHOY, "total"),
        (Dialect.GROTT, "XXXXXXXXXX"),
    ],
)
def test_a_reserved_name_is_refused(dialect: Dialect, name: str) -> None:
    assert external_id_fault(dialect, name)


# All external ids that a registration accepts, of any dialect.
names = st.sampled_from(FIRMWARES).flatmap(
    lambda dialect: st.tuples(
        st.just(dialect),
        (
            st.from_regex(r"[A-Za-z0-9/+#$_.:-]{1,20}", fullmatch=True)
            | st.sampled_from([*NAMES.values(), str(OTHER), *map(str, Dialect), "inverter"])
        ).filter(lambda name: external_id_fault(dialect, name) is None),
    )
)


@given(names, names)
def test_no_two_registered_devices_may_publish_the_same_topic(
    one: tuple[Dialect, str], other: tuple[Dialect, str]
) -> None:
    if one == other:
        return
    ours = topics_of(DEVICE, *one)
    theirs = topics_of(OTHER, *other)
    native = topics_of(OTHER, Dialect.NATIVE, None)
    for topic in ours.publish:
        assert not any(overlap(topic, t) for t in (*theirs.publish, *native.publish))
        assert not any(overlap(topic, t) for t in (*theirs.read, *native.read))
        assert not overlap(topic, "energy/growatt")
