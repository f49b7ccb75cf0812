"""Histories of meters, honest and faulty ones, for Hypothesis."""

from datetime import UTC, datetime, timedelta

from hypothesis import strategies as st

from core.readings import DetailedReading, Reading

CAPACITY_W = 5000.0
NOON = datetime(2026, 3, 1, 12, tzinfo=UTC)


def reading(minutes: float, energy_wh: float | None = None, **fields: float | None) -> Reading:
    return Reading(NOON + timedelta(minutes=minutes), energy_wh=energy_wh, **fields)


def parted(minutes: float, /, power_w: float | None = None, **counters: float | None) -> Reading:
    """Return a reading in parts: `energy__a` is key `energy_wh:a`, `energy__a_back` its return."""
    parts = {
        name.replace("__", "_wh:").replace("_back", "-"): wh
        for name, wh in counters.items()
        if wh is not None
    }
    return DetailedReading(NOON + timedelta(minutes=minutes), power_w=power_w, parts=parts)


METERS_DO = ["rise", "same", "dip", "reset", "zero", "spike", "leap", "step", "back", "absent"]


@st.composite
def histories(draw: st.DrawFn) -> list[Reading]:
    """Draw readings in order of a device with two counters, each with some kinds of behaviour.

    For a while both may stand still, whatever they count meanwhile. Some tell since when they
    count: since their last reset, or since whenever they think.
    """
    levels, at, readings = {"energy_wh": 1_000_000.0, "export_wh": 400_000.0}, 0.0, []
    if draw(st.booleans()):
        levels = dict.fromkeys(levels, 0.0)
    exports = draw(st.booleans())
    habits = [*["rise"] * 4, *draw(st.lists(st.sampled_from(METERS_DO), min_size=1, max_size=5))]
    stalls, counts_again = draw(st.integers(1, 40)), draw(st.integers(1, 40))
    counters: dict[str, float | None] = {}
    since = NOON - timedelta(days=400) if draw(st.booleans()) else None
    for number in range(draw(st.integers(1, 40))):
        at += draw(st.sampled_from([0.25, 1, 4, 5, 15, 29, 31, 75, 600]))
        shown = {name: _shown(draw, levels, name, habits) for name in levels}
        if not stalls <= number < counts_again:
            counters = shown
        if not exports:
            counters.pop("export_wh", None)
        one = reading(at, power_w=draw(st.floats(-50, 5000)), **counters)
        if since is not None:
            if draw(st.integers(0, 9)) == 0:
                since = NOON + timedelta(minutes=draw(st.integers(-60, round(at) + 3)))
            one = one.with_details({}, since)
        readings.append(one)
    return readings


def _shown(draw: st.DrawFn, levels: dict[str, float], name: str, habits: list[str]) -> float | None:
    """Draw the next value of a counter."""
    does = draw(st.sampled_from(habits))
    levels[name] += {"rise": draw(st.floats(0, 400)), "leap": 1e7, "back": 70_000}.get(does, 0)
    if does == "step":
        levels[name] *= 0.93
    if does == "reset":
        levels[name] = draw(st.floats(0.001, 50))
    level = levels[name]
    shown = {"dip": level * 0.95, "zero": 0.0, "spike": level + 4e9, "absent": None}
    return shown.get(does, level)


@st.composite
def honest_counters(draw: st.DrawFn) -> list[Reading]:
    """Draw the values of an honest meter: whole counts of energy, shown at once or later.

    It is read every few seconds or minutes; what it shows it brings up to date less often.
    """
    count_mwh = draw(st.sampled_from([1, 1_000, 10_000, 100_000, 200_000, 1_000_000]))
    every_s, fresh_every = draw(st.sampled_from([(1, 1), (1, 60), (10, 1), (10, 30), (60, 5)]))
    true_mwh = float(draw(st.integers(10**7, 10**11)))
    power_w, shown_wh, readings = draw(st.floats(0, CAPACITY_W)), 0.0, []
    for second in range(0, every_s * fresh_every * 40, every_s):
        if second % (every_s * fresh_every) == 0:
            shown_wh = true_mwh // count_mwh * count_mwh / 1000
            power_w = draw(st.one_of(st.just(power_w), st.floats(0, CAPACITY_W)))
        readings.append(reading(second / 60, shown_wh, power_w=power_w))
        true_mwh += power_w * every_s / 3.6
    return readings


_KEYS = ["energy__a", "energy__b", "energy__b_back", "export__0", "export__1"]
_PART_DOES = st.sampled_from(
    ["rise", "rise", "rise", "same", "dip", "reset", "zero", "spike", "leap", "step", "absent"]
)


@st.composite
def histories_in_parts(draw: st.DrawFn) -> list[Reading]:
    """Draw readings of a device with several counters, each with any kind of behaviour."""
    levels, at, readings = dict.fromkeys(_KEYS, 1_000_000.0), 0.0, []
    for _ in range(draw(st.integers(1, 30))):
        at += draw(st.sampled_from([0.25, 1, 5, 15, 29, 31, 75, 600]))
        shown = {}
        for key in _KEYS:
            does = draw(_PART_DOES)
            levels[key] += {"rise": draw(st.floats(0, 200)), "leap": 1e7}.get(does, 0)
            if does == "reset":
                levels[key] = draw(st.floats(0.001, 50))
            if does == "step":
                levels[key] *= 0.93
            level = levels[key]
            shown[key] = {
                "dip": level * 0.95, "zero": 0.0, "spike": level + 4e9, "absent": None,
            }.get(does, level)  # fmt: skip
        if draw(st.integers(0, 9)) == 0:  # In one number, for once.
            readings.append(reading(at, draw(st.floats(0, 1e6))))
        else:
            readings.append(parted(at, power_w=draw(st.floats(-50, 5000)), **shown))
    return readings
