"""A test of the case that measures an ingester without its database."""

from pathlib import Path

import pytest

from bench import database_outage
from bench.database import BenchDatabaseServer
from bench.options import Options
from tests.conftest import require
from tests.support.mosquitto import find


@pytest.mark.slow
async def test_an_ingester_is_measured_while_its_database_is_unavailable(data: Path) -> None:
    require("mosquitto", find())
    options = Options(BenchDatabaseServer("unused"), data, devices=5, memory_seconds=10)
    result = await database_outage.ingester(options)
    assert result.audit_passed
    met = {target.what: target.met for target in result.targets}
    assert met["readings lost"]
    assert result.parameters["readings"] == 5 * (1 + 2_000 + 10)
    assert result.parameters["readings_sent_again"] == 0
    assert result.course is not None
    assert len(result.course.values) == 10
    assert min(result.course.values) > 1
    assert [c.name for c in result.contestants] == ["hub"]
