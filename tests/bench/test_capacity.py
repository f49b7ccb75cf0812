"""Tests of the capacity guide: its tables follow from the costs in its first table."""

import json
from dataclasses import fields, replace
from pathlib import Path

from bench.capacity import BUSY, Costs, Needs
from bench.capacity_guide import between_markers, measured, stated_in, tables

ROOT = Path(__file__).parents[2]
GUIDE = (ROOT / "docs" / "capacity.md").read_text()
STATED = stated_in(GUIDE)


def test_the_guides_tables_follow_from_its_costs() -> None:
    assert between_markers(GUIDE) == tables(STATED)


def test_costs_are_read_from_the_result_files() -> None:
    costs = measured(ROOT / "bench" / "results")
    assert all(getattr(costs, field.name) > 0 for field in fields(Costs))
    footprint = json.loads((ROOT / "bench" / "results" / "footprint.json").read_text())
    assert costs.wal_bytes == footprint["wal_bytes"]


def test_a_fleet_ten_times_as_large_needs_ten_times_as_much() -> None:
    one, ten = Needs(10**6, STATED), Needs(10**7, STATED)
    for name in ("readings", "frames", "primary_cores", "api_cores", "log_mb", "retained_bytes"):
        assert abs(getattr(ten, name) / getattr(one, name) - 10) < 1e-9, name


def test_no_region_exceeds_a_part_of_which_it_has_only_one() -> None:
    for devices in (10**4, 10**6, 10**7):
        needs = Needs(devices, STATED)
        assert all(amount <= needs.regions for _, amount in needs.limits())
        assert any(amount > needs.regions - 1 for _, amount in needs.limits())


def test_doubling_the_first_limits_cost_doubles_the_regions() -> None:
    slow, slower = (Needs(10**7, replace(STATED, relay_us=us)) for us in (120.0, 240.0))
    assert slower.regions == 2 * slow.regions
    assert max(slower.limits(), key=lambda limit: limit[1])[0] == "the relay"


def test_hubs_have_room_for_their_sockets_beside_all_events() -> None:
    needs = Needs(10**6, STATED)
    receiving = needs.events / needs.regions * STATED.hub_event_us / 1e6
    each = needs.frames / needs.hubs * STATED.hub_frame_us / 1e6
    assert receiving + each <= BUSY
