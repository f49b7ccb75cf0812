"""The sun's elevation, compared with pvlib (NREL's SPA) over years and places."""

from datetime import UTC, datetime, timedelta

import pandas as pd
import pytest
from pvlib import solarposition

from core.sun import elevation_deg

PLACES = [
    (12.9716, 77.5946), (52.52, 13.405), (-33.87, 151.21), (69.65, 18.96), (0.0, -179.99),
    (90.0, 0.0), (-77.85, 166.67),
]  # fmt: skip


@pytest.mark.parametrize("place", PLACES)
def test_the_elevation_equals_pvlibs_to_two_hundredths_of_a_degree(
    place: tuple[float, float],
) -> None:
    begins = datetime(2024, 2, 29, 0, 7, 30, tzinfo=UTC)
    moments = [begins + n * timedelta(hours=37, minutes=11) for n in range(1500)]
    expected = solarposition.get_solarposition(pd.DatetimeIndex(moments), *place)
    ours = [elevation_deg(at, *place) for at in moments]
    differences = [abs(a - b) for a, b in zip(ours, expected["elevation"], strict=True)]
    assert max(differences) < 0.02


def test_an_instant_may_have_any_zone() -> None:
    noon = datetime.fromisoformat("2026-03-20T12:30:00+05:30")
    assert elevation_deg(noon, 12.97, 77.59) == pytest.approx(76.9, abs=0.5)
    assert elevation_deg(noon.astimezone(UTC), 12.97, 77.59) == elevation_deg(noon, 12.97, 77.59)
