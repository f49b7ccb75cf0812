"""Coverage of topic filters, compared with the matches of every topic."""

from itertools import product

import pytest
from hypothesis import given
from hypothesis import strategies as st

from core.topic_filters import covers

LEVELS = ["a", "b", ""]
TOPICS = ["/".join(levels) for n in range(1, 5) for levels in product(LEVELS, repeat=n)]


def matches(topic_filter: str, topic: str) -> bool:
    """Return True if a filter matches a topic, as the standard defines it, level by level."""
    wanted, given_ = topic_filter.split("/"), topic.split("/")
    if wanted[-1] == "#":
        head = wanted[:-1]
        return len(given_) >= len(head) and all(
            w in ("+", g) for w, g in zip(head, given_, strict=False)
        )
    return len(wanted) == len(given_) and all(
        w in ("+", g) for w, g in zip(wanted, given_, strict=True)
    )


@st.composite
def filters(draw: st.DrawFn) -> str:
    levels = draw(st.lists(st.sampled_from([*LEVELS, "+"]), min_size=1, max_size=3))
    return "/".join([*levels, *(["#"] if draw(st.booleans()) else [])])


@given(filters(), filters())
def test_a_filter_covers_another_if_it_matches_all_its_topics(allowed: str, asked: str) -> None:
    every_topic = all(matches(allowed, t) for t in TOPICS if matches(asked, t))
    # With three letters, every filter that is not covered has a topic that shows it.
    assert covers(allowed, asked) == every_topic


@pytest.mark.parametrize(
    "asked",
    ["#", "+/b", "solar/+/ack", "solar/#", "$SYS/#", "$share/g/solar/1/ack", "solar/1/ack/#"],
)
def test_a_single_topic_covers_only_itself(asked: str) -> None:
    assert covers("solar/1/ack", "solar/1/ack")
    assert not covers("solar/1/ack", asked)


def test_wildcards_do_not_reach_the_brokers_own_topics() -> None:
    assert not covers("#", "$SYS/broker/uptime")
    assert not covers("+/broker", "$SYS/broker")
    assert covers("$SYS/#", "$SYS/broker/uptime")
