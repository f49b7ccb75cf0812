"""The number of hosts of a fleet."""

import pytest

from core.settings import ApiSettings
from simulators import registered_homes, replay


@pytest.mark.parametrize(
    ("homes", "hosts"), [(1, 1), (12, 2), (100, 20), (2_000, 20), (10_000, 100)]
)
def test_few_hosts_share_a_fleet_within_the_quota_of_devices(homes: int, hosts: int) -> None:
    assert registered_homes._hosts_of(homes) == hosts
    quota = ApiSettings(jwt_secret="a secret of thirty-two bytes, or so").quota_devices
    assert homes / hosts <= quota
    assert quota >= replay._DEVICES_PER_HOST
