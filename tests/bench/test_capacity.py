"""The capacity guide's figures follow from the costs that it states."""

import json
from dataclasses import fields, replace
from pathlib import Path

from bench.capacity import BUSY, Costs, Needs
from bench.capacity_guide import between_markers, measured, stated_in, tables

ROOT = Path(__file__).parents[2]
GUIDE = (ROOT / "docs" / "capacity.md").read_text()
STATED = stated_in(GUIDE)


def test_the_guide_says_what_its_costs_come_to() -> None:
    assert between_markers(GUIDE) == tables(STATED)


def test_costs_are_read_from_what_the_cases_found() -> None:
    costs = measured(ROOT / "bench" / "results")
    assert all(getattr(costs, field.name) > 0 for field in fields(Costs))
    footprint = json.loads((ROOT / "bench" / "results" / "footprint.json").read_text())
    assert costs.wal_bytes == footprint["wal_bytes"]


def test_a_fleet_ten_times_as_large_needs_ten_times_as_much() -> None:
    one, ten = Needs(10**6, STATED), Needs(10**7, STATED)
    for name in ("readings", "frames", "primary_cores", "api_cores", "log_mb", "kept_bytes"):
        assert abs(getattr(ten, name) / getattr(one, name) - 10) < 1e-9, name


def test_no_region_needs_more_than_there_is_one_of() -> None:
    for devices in (10**4, 10**6, 10**7):
        needs = Needs(devices, STATED)
        assert all(amount <= needs.regions for _, amount in needs.limits())
        assert any(amount > needs.regions - 1 for _, amount in needs.limits())


def test_what_costs_twice_as_much_is_the_first_limit_twice_as_early() -> None:
    slow, slower = (Needs(10**7, replace(STATED, relay_us=us)) for us in (120.0, 240.0))
    assert slower.regions == 2 * slow.regions
    assert max(slower.limits(), key=lambda limit: limit[1])[0] == "the relay"


def test_hubs_have_what_hearing_leaves_them() -> None:
    needs = Needs(10**6, STATED)
    hearing = needs.events / needs.regions * STATED.hub_event_us / 1e6
    each = needs.frames / needs.hubs * STATED.hub_frame_us / 1e6
    assert hearing + each <= BUSY
