"""Admission, send buffers, retained messages, rates and deadlines: pure, without a socket."""

from collections.abc import Iterator
from dataclasses import dataclass, replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ingest.embedded_broker import client_packets as packets
from ingest.embedded_broker.admission import Admission, NoRoomError, address_of
from ingest.embedded_broker.client_packets import Publish
from ingest.embedded_broker.limits import BrokerLimits, Deadlines, PublishRate
from ingest.embedded_broker.retained import RetainedMessage, RetainedMessages
from ingest.embedded_broker.send_buffer import Outbox


@dataclass(eq=False)
class Caller:
    address: str
    is_signing_in: bool = False


SMALL = replace(
    BrokerLimits(), connections_max=6, connections_per_address_max=4, pending_max=4,
    pending_per_address_max=3,
)  # fmt: skip


def admission_of(*callers: Caller, signed_in: bool = False) -> Admission[Caller]:
    admission: Admission[Caller] = Admission(SMALL)
    for caller in callers:
        assert admission.admit(caller) is None
        if signed_in:
            admission.signed_in(caller)
    return admission


def test_the_oldest_pending_connection_of_a_full_address_is_evicted() -> None:
    callers = [Caller("a"), Caller("a"), Caller("a")]
    admission = admission_of(Caller("b"), *callers)
    assert admission.admit(Caller("a")) is callers[0]
    assert admission.admit(Caller("a")) is callers[1]


def test_a_connection_that_is_signing_in_is_not_evicted() -> None:
    callers = [Caller("a", is_signing_in=True), Caller("a"), Caller("a")]
    admission = admission_of(*callers)
    assert admission.admit(Caller("a")) is callers[1]
    for caller in callers:
        caller.is_signing_in = True
    assert admission.admit(Caller("b")) is None


def test_at_the_total_limit_the_busiest_address_loses_its_oldest_connection() -> None:
    callers = [Caller("a"), Caller("b"), Caller("b"), Caller("c")]
    admission = admission_of(*callers)
    assert admission.admit(Caller("d")) is callers[1]


def test_a_connection_is_refused_if_none_can_be_evicted() -> None:
    signed_in = [Caller("a") for _ in range(4)]
    admission = admission_of(*signed_in, signed_in=True)
    with pytest.raises(NoRoomError):
        admission.admit(Caller("a"))
    others = [Caller("b"), Caller("c")]
    for caller in others:
        assert admission.admit(caller) is None
    assert admission.admit(Caller("d")) is others[0]
    admission.remove(signed_in[0])
    assert admission.admit(Caller("a")) is None
    assert len(admission) == SMALL.connections_max


@given(st.lists(st.tuples(st.sampled_from("abc"), st.sampled_from(["come", "sign", "go"]))))
def test_the_limits_hold_in_any_order_of_connections(steps: list[tuple[str, str]]) -> None:
    admission: Admission[Caller] = Admission(SMALL)
    there: list[Caller] = []
    pending: list[Caller] = []
    for address, step in steps:
        if step == "come":
            caller = Caller(address)
            try:
                evicted = admission.admit(caller)
            except NoRoomError:
                continue
            if evicted is not None:
                assert evicted in pending
                there.remove(evicted)
                pending.remove(evicted)
            there.append(caller)
            pending.append(caller)
        elif step == "sign" and pending:
            admission.signed_in(pending.pop(0))
        elif step == "go" and there:
            gone = there.pop(0)
            admission.remove(gone)
            pending = [caller for caller in pending if caller is not gone]
        assert len(admission) == len(there) <= SMALL.connections_max
        assert len(pending) <= SMALL.pending_max
        for name in "abc":
            here = [c for c in there if c.address == name]
            assert len(here) <= SMALL.connections_per_address_max
            assert len({*here} & {*pending}) <= SMALL.pending_per_address_max


@pytest.mark.parametrize(
    ("host", "address"),
    [
        ("192.0.2.7", "192.0.2.7"),
        ("::ffff:192.0.2.7", "192.0.2.7"),
        ("2001:db8:1:2:3:4:5:6", "2001:db8:1:2::/64"),
        ("2001:db8:1:2:ffff::1", "2001:db8:1:2::/64"),
        ("fe80::1%eth0", "fe80::/64"),
    ],
)
def test_a_network_of_ipv6_is_one_address(host: str, address: str) -> None:
    assert address_of(host) == address


def ids(sent: Iterator[bytes]) -> list[int]:
    return [packets.decode_publish(packet).packet_id for packet in sent]


def message(number: int) -> Publish:
    return Publish("a", b"%d" % number, 1, 0, retain=False)


def test_an_outbox_limits_unacknowledged_messages() -> None:
    outbox = Outbox(inflight_max=2)
    assert [ids(outbox.add(message(n))) for n in range(4)] == [[1], [2], [], []]
    assert ids(outbox.acknowledge(9)) == []
    assert ids(outbox.acknowledge(2)) == [3]
    assert len(outbox) == 3
    assert ids(outbox.acknowledge(1)) == [4]
    assert ids(outbox.acknowledge(3)) == ids(outbox.acknowledge(4)) == []
    assert len(outbox) == 0


def test_an_outbox_sends_unacknowledged_messages_again_and_then_held_ones() -> None:
    outbox = Outbox(inflight_max=3)
    for number in range(2):
        assert ids(outbox.add(message(number)))
    outbox.hold(message(2))
    outbox.hold(message(3))
    again = list(outbox.resume())
    assert ids(iter(again)) == [1, 2, 3]
    assert [bool(packet[0] & 0x08) for packet in again] == [True, True, False]
    assert ids(outbox.acknowledge(1)) == [4]


def test_an_outbox_uses_each_packet_id_once_at_a_time() -> None:
    outbox = Outbox(inflight_max=2)
    assert ids(outbox.add(message(0))) == [1]
    for number in range(70_000):
        [packet_id] = ids(outbox.add(message(number)))
        assert 1 < packet_id <= 65_535
        assert ids(outbox.acknowledge(packet_id)) == []


def retained(topic: str, size: int = 1, username: str = "device") -> RetainedMessage:
    return RetainedMessage(topic, bytes(size), 1, username)


def topics(retained_messages: RetainedMessages, topic_filter: str) -> list[str]:
    return [message.topic for message in retained_messages.matching(topic_filter)]


def test_retained_topics_and_bytes_of_each_user_are_limited() -> None:
    retained_messages = RetainedMessages(topics_per_user_max=2, bytes_per_user_max=100)
    assert retained_messages.keep(retained("a"))
    assert retained_messages.keep(retained("b"))
    assert not retained_messages.keep(retained("c"))
    assert retained_messages.keep(retained("c", username="other"))
    assert retained_messages.keep(retained("b", 90))
    assert not retained_messages.keep(retained("b", 99))
    assert topics(retained_messages, "#") == ["a", "c"]
    assert retained_messages.keep(retained("a", 0))
    assert retained_messages.keep(retained("b", 99))
    assert topics(retained_messages, "#") == ["c", "b"]


def test_a_user_without_retained_messages_leaves_nothing() -> None:
    retained_messages = RetainedMessages(topics_per_user_max=2, bytes_per_user_max=100)
    retained_messages.keep(retained("a"))
    retained_messages.keep(retained("a", username="other"))
    retained_messages.keep(retained("b"))
    assert retained_messages.usernames == {"device", "other"}
    retained_messages.forget("device")
    retained_messages.forget("nobody")
    assert topics(retained_messages, "#") == ["a"]
    retained_messages.keep(RetainedMessage("a", b"", 1, "device"))
    assert retained_messages.usernames == set()


@pytest.mark.parametrize(
    ("topic_filter", "expected"),
    [
        ("a/b", ["a/b"]),
        ("a/+", ["a/b", "a/c"]),
        ("a/#", ["a", "a/b", "a/b/d", "a/c"]),
        ("+/b/#", ["a/b", "a/b/d"]),
        ("#", ["a", "a/b", "a/b/d", "a/c", "ab"]),
        ("b", []),
    ],
)
def test_retained_messages_are_found_by_filters(topic_filter: str, expected: list[str]) -> None:
    retained_messages = RetainedMessages(topics_per_user_max=9, bytes_per_user_max=100)
    for topic in ("a", "ab", "a/b", "a/c", "a/b/d", "$SYS"):
        assert retained_messages.keep(retained(topic))
    assert sorted(topics(retained_messages, topic_filter)) == expected


def test_a_rate_allows_a_burst_of_one_second() -> None:
    rate = PublishRate(messages_per_s=10, bytes_per_s=1000, now_s=0)
    assert rate.wait_s(10, 100, 0) == 0
    assert rate.wait_s(5, 50, 0) == pytest.approx(0.5)
    assert rate.wait_s(0, 0, 0.5) == 0
    assert rate.wait_s(1, 2000, 10) == pytest.approx(1)
    assert rate.wait_s(0, 0, 1000) == 0
    assert rate.wait_s(11, 0, 1000) == pytest.approx(0.1)


def test_the_keep_alive_deadline_counts_complete_packets() -> None:
    deadlines = Deadlines(replace(BrokerLimits(), packet_within_s=60))
    deadlines.begin(keep_alive_s=10, now_s=0)
    assert deadlines.overdue(15) is None
    assert deadlines.overdue(15.1)
    deadlines.read(0, 5, 15)
    assert deadlines.overdue(15.1)
    deadlines.read(1, 5, 15)
    assert deadlines.overdue(30) is None


def test_a_client_without_a_keep_alive_time_must_complete_packets_in_time() -> None:
    deadlines = Deadlines(replace(BrokerLimits(), packet_within_s=60))
    deadlines.begin(keep_alive_s=0, now_s=0)
    assert deadlines.overdue(1e6) is None
    deadlines.read(0, 1, 1e6)
    deadlines.read(0, 2, 1e6 + 59)
    assert deadlines.overdue(1e6 + 60) is None
    assert deadlines.overdue(1e6 + 61)
    deadlines.read(1, 0, 1e6 + 61)
    assert deadlines.overdue(2e6) is None
