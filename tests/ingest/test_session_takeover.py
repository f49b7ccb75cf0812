"""The takeover of sessions of ingesters that are missing."""

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


async def test_only_the_session_of_a_missing_member_is_taken_over_and_only_once(
    pool: Pool,
) -> None:
    successor = uuid4()
    for client_id, group in (("here", "hub"), ("gone", "hub"), ("other", "else"), ("alone", None)):
        assert await ingesters.hold(pool, client_id, group, uuid4()) is None
        if client_id != "here":
            await pool.execute(_AGE, client_id)
    assert await ingesters.inherit(pool, "hub", successor, gone_after=MINUTE) == "gone"
    assert await ingesters.inherit(pool, "hub", uuid4(), gone_after=MINUTE) is None


async def test_an_owner_that_returns_has_its_session_again(pool: Pool) -> None:
    owner, successor = uuid4(), uuid4()
    await ingesters.hold(pool, "gone", "hub", owner)
    await pool.execute(_AGE, "gone")
    await ingesters.inherit(pool, "hub", successor, gone_after=MINUTE)
    assert await ingesters.still_hold(pool, "gone", successor)
    assert await ingesters.hold(pool, "gone", "hub", owner) == successor
    assert not await ingesters.still_hold(pool, "gone", successor)
    await ingesters.release(pool, "gone", successor)
    assert await ingesters.hold(pool, "gone", "hub", owner) == owner


async def test_two_ingesters_with_one_client_id_log_a_remedy(
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
