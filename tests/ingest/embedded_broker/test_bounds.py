"""What holds the embedded broker's limits: pure, without a socket."""

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


def test_an_address_that_has_too_many_pending_gives_up_its_oldest() -> None:
    callers = [Caller("a"), Caller("a"), Caller("a")]
    admission = admission_of(Caller("b"), *callers)
    assert admission.admit(Caller("a")) is callers[0]
    assert admission.admit(Caller("a")) is callers[1]


def test_who_is_signing_in_is_left_alone() -> None:
    callers = [Caller("a", is_signing_in=True), Caller("a"), Caller("a")]
    admission = admission_of(*callers)
    assert admission.admit(Caller("a")) is callers[1]
    for caller in callers:
        caller.is_signing_in = True
    assert admission.admit(Caller("b")) is None


def test_with_too_many_pending_the_busiest_address_gives_up_its_oldest() -> None:
    callers = [Caller("a"), Caller("b"), Caller("b"), Caller("c")]
    admission = admission_of(*callers)
    assert admission.admit(Caller("d")) is callers[1]


def test_with_nobody_to_give_up_the_newcomer_is_refused() -> None:
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
def test_the_limits_hold_whoever_comes_and_goes(steps: list[tuple[str, str]]) -> None:
    admission: Admission[Caller] = Admission(SMALL)
    there: list[Caller] = []
    pending: list[Caller] = []
    for address, step in steps:
        if step == "come":
            caller = Caller(address)
            try:
                victim = admission.admit(caller)
            except NoRoomError:
                continue
            if victim is not None:
                assert victim in pending
                there.remove(victim)
                pending.remove(victim)
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


def test_an_outbox_sends_so_many_ahead() -> None:
    outbox = Outbox(inflight_max=2)
    assert [ids(outbox.add(message(n))) for n in range(4)] == [[1], [2], [], []]
    assert ids(outbox.acknowledge(9)) == []
    assert ids(outbox.acknowledge(2)) == [3]
    assert len(outbox) == 3
    assert ids(outbox.acknowledge(1)) == [4]
    assert ids(outbox.acknowledge(3)) == ids(outbox.acknowledge(4)) == []
    assert len(outbox) == 0


def test_an_outbox_sends_again_what_was_not_acknowledged_and_then_what_was_held() -> None:
    outbox = Outbox(inflight_max=3)
    for number in range(2):
        assert ids(outbox.add(message(number)))
    outbox.hold(message(2))
    outbox.hold(message(3))
    again = list(outbox.resume())
    assert ids(iter(again)) == [1, 2, 3]
    assert [bool(packet[0] & 0x08) for packet in again] == [True, True, False]
    assert ids(outbox.acknowledge(1)) == [4]


def test_an_outbox_gives_no_id_twice_at_a_time() -> None:
    outbox = Outbox(inflight_max=2)
    assert ids(outbox.add(message(0))) == [1]
    for number in range(70_000):
        [packet_id] = ids(outbox.add(message(number)))
        assert 1 < packet_id <= 65_535
        assert ids(outbox.acknowledge(packet_id)) == []


def retained(topic: str, size: int = 1, username: str = "device") -> RetainedMessage:
    return RetainedMessage(topic, bytes(size), 1, username)


def topics(kept: RetainedMessages, topic_filter: str) -> list[str]:
    return [message.topic for message in kept.matching(topic_filter)]


def test_each_user_has_so_many_topics_and_bytes_retained() -> None:
    kept = RetainedMessages(topics_per_user_max=2, bytes_per_user_max=100)
    assert kept.keep(retained("a"))
    assert kept.keep(retained("b"))
    assert not kept.keep(retained("c"))
    assert kept.keep(retained("c", username="other"))
    assert kept.keep(retained("b", 90))
    assert not kept.keep(retained("b", 99))
    assert topics(kept, "#") == ["a", "c"]
    assert kept.keep(retained("a", 0))
    assert kept.keep(retained("b", 99))
    assert topics(kept, "#") == ["c", "b"]


def test_what_is_forgotten_leaves_nothing() -> None:
    kept = RetainedMessages(topics_per_user_max=2, bytes_per_user_max=100)
    kept.keep(retained("a"))
    kept.keep(retained("a", username="other"))
    kept.keep(retained("b"))
    assert kept.usernames == {"device", "other"}
    kept.forget("device")
    kept.forget("nobody")
    assert topics(kept, "#") == ["a"]
    kept.keep(RetainedMessage("a", b"", 1, "device"))
    assert kept.usernames == set()


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
    kept = RetainedMessages(topics_per_user_max=9, bytes_per_user_max=100)
    for topic in ("a", "ab", "a/b", "a/c", "a/b/d", "$SYS"):
        assert kept.keep(retained(topic))
    assert sorted(topics(kept, topic_filter)) == expected


def test_a_pace_lets_a_second_pass_at_once_and_then_so_much_a_second() -> None:
    pace = PublishRate(messages_per_s=10, bytes_per_s=1000, now_s=0)
    assert pace.wait_s(10, 100, 0) == 0
    assert pace.wait_s(5, 50, 0) == pytest.approx(0.5)
    assert pace.wait_s(0, 0, 0.5) == 0
    assert pace.wait_s(1, 2000, 10) == pytest.approx(1)
    assert pace.wait_s(0, 0, 1000) == 0
    assert pace.wait_s(11, 0, 1000) == pytest.approx(0.1)


def test_a_deadline_is_that_of_whole_packets() -> None:
    deadlines = Deadlines(replace(BrokerLimits(), packet_within_s=60))
    deadlines.begin(keep_alive_s=10, now_s=0)
    assert deadlines.overdue(15) is None
    assert deadlines.overdue(15.1)
    deadlines.read(0, 5, 15)
    assert deadlines.overdue(15.1)
    deadlines.read(1, 5, 15)
    assert deadlines.overdue(30) is None


def test_who_may_be_silent_may_not_be_slow() -> None:
    deadlines = Deadlines(replace(BrokerLimits(), packet_within_s=60))
    deadlines.begin(keep_alive_s=0, now_s=0)
    assert deadlines.overdue(1e6) is None
    deadlines.read(0, 1, 1e6)
    deadlines.read(0, 2, 1e6 + 59)
    assert deadlines.overdue(1e6 + 60) is None
    assert deadlines.overdue(1e6 + 61)
    deadlines.read(1, 0, 1e6 + 61)
    assert deadlines.overdue(2e6) is None
