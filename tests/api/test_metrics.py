"""Who is active, as Prometheus is told."""

from uuid import uuid4

from api.http.metrics import ActiveUsers
from db.pool import Pool
from tests.api.conftest import Api
from tests.support.people import add_user


def test_people_are_active_for_a_while_after_their_last_request() -> None:
    now = 0.0
    active = ActiveUsers(within_s=300, clock=lambda: now)
    early, again = uuid4(), uuid4()
    for user_id in (early, again, again):
        active.seen(user_id)
    assert active.count() == 2
    now = 200
    active.seen(again)
    now = 300
    assert active.count() == 1
    now = 500
    assert active.count() == 0


def test_of_very_many_people_the_most_recent_are_remembered() -> None:
    active = ActiveUsers(most=10)
    people = [uuid4() for _ in range(25)]
    for user_id in people:
        active.seen(user_id)
    assert active.count() == 10
    active.seen(people[-1])
    assert active.count() == 10


async def test_whose_token_is_good_is_active(api: Api, pool: Pool) -> None:
    async def active_users() -> str:
        lines = (await api.call("GET", "/metrics")).text.splitlines()
        return next(line for line in lines if line.startswith("solarhub_active_users "))

    person, gone = await add_user(pool), await add_user(pool)
    await pool.execute("UPDATE users SET is_active = false WHERE id = $1", gone.id)
    assert await active_users() == "solarhub_active_users 0.0"
    for who in (person, person, gone):
        await api.call("GET", "/api/v1/wallet", who)
    assert await active_users() == "solarhub_active_users 1.0"
