"""Tests of results, which are compared round by round."""

from bench.result import Contestant, Result, Sample, Target, turns


def test_contestants_are_compared_within_rounds() -> None:
    hub = Contestant("hub", "", [Sample(10), Sample(4), Sample(20)])
    other = Contestant("floor", "", [Sample(20), Sample(8), Sample(40)])
    assert dict(_result(hub, other).as_json()["ratios"]) == {"floor": 0.5}


def test_the_first_contestant_alternates() -> None:
    assert [turns(["hub", "floor"], n)[0] for n in range(3)] == ["hub", "floor", "hub"]


def test_a_target_is_a_minimum_or_a_maximum() -> None:
    assert Target("of the floor", 0.5, found=0.5).met
    assert not Target("of the floor", 0.5, found=0.49).met
    assert Target("p99 ms", 50, found=12, at_most=True).met
    assert not Target("p99 ms", 50, found=51, at_most=True).met


def test_latencies_are_medians_over_rounds() -> None:
    hub = Contestant("hub", "", [Sample(1, 5, 50), Sample(1, 7, 20), Sample(1, 6, 30)])
    assert (hub.p50_ms, hub.p99_ms) == (6, 30)


def test_cpu_times_are_medians_over_rounds_by_process() -> None:
    samples = [Sample(1, cpu_us={"hub": us, "PostgreSQL": 2 * us}) for us in (30, 10, 20)]
    assert Contestant("hub", "", samples).cpu_us == {"hub": 20, "PostgreSQL": 40}


def _result(*contestants: Contestant) -> Result:
    return Result("case", "", "items/s", contestants, (), audit_passed=True, parameters={})
