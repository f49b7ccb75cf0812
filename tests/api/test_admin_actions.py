"""The record of what administrators did."""

import pytest

from db.pool import Pool
from tests.api.conftest import Api, data_of
from tests.api.deciding import ADMIN, DEVICES, decide, register
from tests.support.people import Person, add_device, add_user

NOBODY = "00000000-0000-4000-8000-000000000000"


@pytest.fixture
async def admin(pool: Pool) -> Person:
    return await add_user(pool, "admin")


@pytest.fixture
async def host(pool: Pool) -> Person:
    return await add_user(pool, "host")


async def test_each_action_is_recorded_with_administrator_change_and_reason(
    api: Api, pool: Pool, admin: Person, host: Person
) -> None:
    other = await add_user(pool, "admin")
    device_id = str(await add_device(pool, host))
    await decide(
        api, admin, device_id, frozen=True, capacity_approved=True, reason="Smoke was seen"
    )
    await decide(api, admin, device_id, frozen=True)  # unchanged: nothing is recorded
    path = f"{ADMIN}/users/{host.id}"
    for active, why in ((False, {"reason": "Did not answer"}), (True, {})):
        data_of(await api.call("PATCH", path, other, json={"is_active": active, **why}))
    change = {"name": "Barn", "reason": "They asked us to"}
    data_of(await api.call("PATCH", f"{DEVICES}/{device_id}", admin, json=change))
    removal = await api.call(
        "DELETE", f"{DEVICES}/{device_id}", admin, params={"reason": "Scrapped"}
    )
    data_of(removal)
    page = await api.get(f"{ADMIN}/actions", admin, limit=3)
    rest = await api.get(f"{ADMIN}/actions", admin, cursor=page["next_cursor"])
    recorded = [
        (a["admin_email"], a["action"], a["subject_id"], a["before"], a["after"], a["reason"])
        for a in page["items"] + rest["items"]
    ]
    of_user, of_device = str(host.id), device_id
    assert recorded == [
        (
            admin.email, "device.removed", of_device, {"removed": False}, {"removed": True},
            "Scrapped",
        ),
        (
            admin.email, "device.changed", of_device, {"name": "Roof"}, {"name": "Barn"},
            "They asked us to",
        ),
        (other.email, "user.activated", of_user, {"is_active": False}, {"is_active": True}, None),
        (
            other.email, "user.deactivated", of_user, {"is_active": True}, {"is_active": False},
            "Did not answer",
        ),
        (
            admin.email, "device.decided", of_device, {"capacity_approved": False, "frozen": False},
            {"capacity_approved": True, "frozen": True}, "Smoke was seen",
        ),
    ]  # fmt: skip
    ours = await api.get(f"{ADMIN}/actions", admin, subject_id=of_user)
    assert [a["action"] for a in ours["items"]] == ["user.activated", "user.deactivated"]
    assert {a["subject_name"] for a in ours["items"]} == {"Host"}


async def test_changes_by_owners_are_not_recorded_as_actions(
    api: Api, pool: Pool, admin: Person, host: Person
) -> None:
    device_id = await register(api, host)
    change = {"name": "Barn", "reason": "I like it"}
    data_of(await api.call("PATCH", f"{DEVICES}/{device_id}", host, json=change))
    data_of(await api.call("DELETE", f"{DEVICES}/{device_id}", host))
    assert (await api.get(f"{ADMIN}/actions", admin))["items"] == []


async def test_recorded_actions_can_not_be_changed_or_removed(
    pool: Pool, api: Api, admin: Person
) -> None:
    host = await add_user(pool, "host")
    await decide(api, admin, await add_device(pool, host), frozen=True)
    for statement in ("DELETE FROM admin_actions", "UPDATE admin_actions SET reason = 'other'"):
        with pytest.raises(Exception, match="append-only"):
            await pool.execute(statement)
