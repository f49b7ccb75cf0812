"""The count of active users in the metrics."""

from uuid import uuid4

from api.http.metrics import ActiveUsers
from db.pool import Pool
from tests.api.conftest import Api
from tests.support.people import add_user


def test_a_user_is_active_for_a_while_after_the_last_request() -> None:
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


def test_only_the_most_recent_users_are_remembered() -> None:
    active = ActiveUsers(most=10)
    people = [uuid4() for _ in range(25)]
    for user_id in people:
        active.seen(user_id)
    assert active.count() == 10
    active.seen(people[-1])
    assert active.count() == 10


async def test_only_authorized_users_count_as_active(api: Api, pool: Pool) -> None:
    async def active_users() -> str:
        lines = (await api.call("GET", "/metrics")).text.splitlines()
        return next(line for line in lines if line.startswith("solarhub_active_users "))

    active, inactive = await add_user(pool), await add_user(pool)
    await pool.execute("UPDATE users SET is_active = false WHERE id = $1", inactive.id)
    assert await active_users() == "solarhub_active_users 0.0"
    for person in (active, active, inactive):
        await api.call("GET", "/api/v1/wallet", person)
    assert await active_users() == "solarhub_active_users 1.0"
