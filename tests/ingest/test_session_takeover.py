"""Ingesters know of each other."""

from datetime import timedelta
from uuid import uuid4

from structlog.testing import capture_logs

from core.settings import DatabaseSettings
from db import ingesters
from db.pool import Pool
from tests.ingest.test_service import ingesting
from tests.support.mosquitto import Mosquitto
from tests.support.waiting import eventually

MINUTE = timedelta(minutes=1)
_AGE = "UPDATE ingesters SET seen_at = now() - interval '2 minutes' WHERE client_id = $1"


async def test_only_a_member_of_the_group_that_is_gone_is_inherited_and_only_once(
    pool: Pool,
) -> None:
    heir = uuid4()
    for client_id, group in (("here", "hub"), ("gone", "hub"), ("other", "else"), ("alone", None)):
        assert await ingesters.hold(pool, client_id, group, uuid4()) is None
        if client_id != "here":
            await pool.execute(_AGE, client_id)
    assert await ingesters.inherit(pool, "hub", heir, gone_after=MINUTE) == "gone"
    assert await ingesters.inherit(pool, "hub", uuid4(), gone_after=MINUTE) is None


async def test_who_returns_takes_its_session_back(pool: Pool) -> None:
    owner, heir = uuid4(), uuid4()
    await ingesters.hold(pool, "gone", "hub", owner)
    await pool.execute(_AGE, "gone")
    await ingesters.inherit(pool, "hub", heir, gone_after=MINUTE)
    assert await ingesters.still_hold(pool, "gone", heir)
    assert await ingesters.hold(pool, "gone", "hub", owner) == heir
    assert not await ingesters.still_hold(pool, "gone", heir)
    await ingesters.release(pool, "gone", heir)
    assert await ingesters.hold(pool, "gone", "hub", owner) == owner


async def test_two_that_use_one_client_id_say_what_to_do_about_it(
    database: DatabaseSettings, mosquitto: Mosquitto
) -> None:
    with capture_logs() as logs:
        async with (
            ingesting(mosquitto.url, database, ingest_gone_after="1200ms"),
            ingesting(mosquitto.url, database, ingest_gone_after="1200ms"),
        ):
            await eventually(
                lambda: [log for log in logs if log["event"] == "client_id_used_twice"]
            )
    [said, *_] = [log for log in logs if log["event"] == "client_id_used_twice"]
    assert said["client_id"] == "solarhub-ingest"
    assert "SOLARHUB_INGEST_CLIENT_ID" in said["do"]
