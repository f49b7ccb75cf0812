"""Users register, sign in, refresh, sign out, and change their profile and password."""

import asyncio
import json
from typing import Any

import bcrypt
import httpx
import pytest

from core.settings import DatabaseSettings
from db.pool import Pool
from tests.api.conftest import Api, code_of, data_of, fields_of, serving
from tests.support.people import PASSWORD, Person, add_user

REGISTER, LOGIN = "/api/v1/auth/register", "/api/v1/auth/login"
REFRESH, LOGOUT, ME = "/api/v1/auth/refresh", "/api/v1/auth/logout", "/api/v1/auth/me"
CHANGE_PASSWORD = "/api/v1/auth/change-password"
NEW_PASSWORD = "another good password"
ASHA = {
    "email": "Asha@Example.org",
    "password": "correct horse battery",
    "full_name": "Asha Rao",
    "role": "host",
    "phone": "+91 98450 12345",
}


async def register(api: Api, **changes: Any) -> httpx.Response:
    return await api.call("POST", REGISTER, json=ASHA | changes)


async def me(api: Api, token: str) -> httpx.Response:
    return await api.call("GET", ME, headers={"Authorization": f"Bearer {token}"})


async def test_a_registered_user_is_signed_in_with_an_empty_wallet(api: Api, pool: Pool) -> None:
    response = await register(api)
    assert response.status_code == response.json()["statusCode"] == 201
    session = data_of(response)
    assert session["token_type"] == "bearer"
    assert session["expires_in"] == 900
    user = session["user"]
    assert (user["email"], user["full_name"], user["role"]) == (
        "Asha@example.org",
        "Asha Rao",
        "host",
    )
    assert "password_hash" not in user
    assert data_of(await me(api, session["access_token"])) == user
    assert await pool.fetchval("SELECT balance::text FROM wallets") == "0.00"
    assert await pool.fetchval("SELECT user_id::text FROM hosts") == user["id"]


@pytest.mark.parametrize("role", ["buyer", "host", "investor"])
async def test_a_role_has_its_profile(api: Api, pool: Pool, role: str) -> None:
    await register(api, role=role)
    assert await pool.fetchval(f"SELECT count(*) FROM {role}s") == 1


async def test_nobody_registers_as_admin(api: Api) -> None:
    assert fields_of(await register(api, role="admin")) == ["role"]


async def test_an_email_is_unique_in_any_case(api: Api) -> None:
    answers = await asyncio.gather(
        *(register(api, email=email) for email in ["asha@example.org", "ASHA@example.org"] * 3)
    )
    assert sorted(answer.status_code for answer in answers) == [201, 409, 409, 409, 409, 409]
    assert {code_of(answer) for answer in answers if answer.status_code == 409} == {"email_taken"}


async def test_a_wrong_password_and_an_unknown_email_get_the_same_answer(api: Api) -> None:
    await register(api)
    wrong = [
        {"email": "asha@example.org", "password": "wrong horse battery"},
        {"email": "nobody@example.org", "password": "correct horse battery"},
    ]
    answers = [await api.call("POST", LOGIN, json=body) for body in wrong]
    for answer in answers:
        assert (answer.status_code, code_of(answer)) == (401, "bad_credentials")
    assert answers[0].json()["message"] == answers[1].json()["message"]
    right = {"email": "ASHA@example.org", "password": "correct horse battery"}
    session = data_of(await api.call("POST", LOGIN, json=right))
    assert data_of(await me(api, session["access_token"]))["email"] == "Asha@example.org"


async def test_an_unknown_email_costs_the_same_hashing_as_a_wrong_password(
    api: Api, pool: Pool, monkeypatch: pytest.MonkeyPatch
) -> None:
    checked = []

    def checkpw(password: bytes, hashed: bytes) -> bool:
        checked.append(hashed[:7])
        return real(password, hashed)

    real = bcrypt.checkpw
    monkeypatch.setattr(bcrypt, "checkpw", checkpw)
    for email in ((await add_user(pool)).email, "nobody@example.org"):
        await api.call("POST", LOGIN, json={"email": email, "password": "wrong horse battery"})
    assert checked == [b"$2b$04$"] * 2


async def test_a_deactivated_user_can_not_sign_in(api: Api, pool: Pool) -> None:
    person = await add_user(pool)
    await pool.execute("UPDATE users SET is_active = false")
    body = {"email": person.email, "password": PASSWORD}
    assert code_of(await api.call("POST", LOGIN, json=body)) == "bad_credentials"


async def refresh(api: Api, token: str) -> httpx.Response:
    return await api.call("POST", REFRESH, json={"refresh_token": token})


async def test_a_second_use_of_a_refresh_token_revokes_its_family(api: Api) -> None:
    first = data_of(await register(api))["refresh_token"]
    second = data_of(await refresh(api, first))["refresh_token"]
    third = data_of(await refresh(api, second))["refresh_token"]
    assert code_of(await refresh(api, first)) == "bad_token"
    assert code_of(await refresh(api, third)) == "bad_token"
    login = {"email": ASHA["email"], "password": ASHA["password"]}
    other = data_of(await api.call("POST", LOGIN, json=login))["refresh_token"]
    assert (await refresh(api, other)).is_success


async def test_a_refresh_token_sent_twice_concurrently_is_spent_once(api: Api) -> None:
    token = data_of(await register(api))["refresh_token"]
    answers = await asyncio.gather(*(refresh(api, token) for _ in range(5)))
    [renewed] = [answer for answer in answers if answer.is_success]
    assert code_of(await refresh(api, data_of(renewed)["refresh_token"])) == "bad_token"


@pytest.mark.parametrize("odd", [r"\ud800", r"\u0000", "é" * 40, "x" * 10_000, 7, None, [], {}])
async def test_an_invalid_password_is_named(api: Api, odd: object) -> None:
    text = json.dumps(odd).replace("\\\\u", "\\u")
    body = f'{{"email": "asha@example.org", "password": {text}}}'
    response = await api.call(
        "POST", LOGIN, content=body, headers={"Content-Type": "application/json"}
    )
    assert fields_of(response) == ["password"]


async def test_only_the_hash_of_a_refresh_token_is_stored(api: Api, pool: Pool) -> None:
    token = data_of(await register(api))["refresh_token"]
    stored = await pool.fetchval("SELECT token_hash FROM refresh_tokens")
    assert len(stored) == 32
    assert token.encode() not in stored


async def test_signing_out_ends_the_family(api: Api) -> None:
    token = data_of(await register(api))["refresh_token"]
    assert (await api.call("POST", LOGOUT, json={"refresh_token": token})).is_success
    assert code_of(await refresh(api, token)) == "bad_token"
    unknown = await api.call("POST", LOGOUT, json={"refresh_token": "unknown"})
    assert unknown.is_success


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("GET", ME),
        ("GET", "/api/v1/wallet"),
        ("GET", "/api/v1/marketplace/listings"),
        ("GET", "/api/v1/devices"),
        ("POST", "/api/v1/devices"),
        ("PUT", "/api/v1/location/update"),
        ("GET", "/api/v1/admin/users"),
    ],
)
async def test_an_access_token_of_a_deactivated_user_is_refused(
    api: Api, pool: Pool, method: str, path: str
) -> None:
    inactive, gone = await add_user(pool, "host"), await add_user(pool, "host")
    await pool.execute("UPDATE users SET is_active = false WHERE id = $1", inactive.id)
    await pool.execute("DELETE FROM users WHERE id = $1", gone.id)
    for person in (inactive, gone):
        response = await api.call(method, path, person)
        assert (response.status_code, code_of(response)) == (401, "account_inactive")


async def test_without_the_database_requests_get_503_and_sessions_survive(
    person: Person,
) -> None:
    nowhere = DatabaseSettings(database_url="postgresql://nobody@127.0.0.1:9/nowhere")
    async with serving(nowhere) as api:
        response = await api.call("GET", ME, person)
    assert (response.status_code, code_of(response)) == (503, "database_unavailable")
    assert response.headers["Retry-After"]


PROFILES = {
    "host": {"property_name": "Lotus House", "tariff_per_kwh": "7.2500"},
    "buyer": {"monthly_demand_kwh": "250.000"},
    "investor": {"company": "Sunrise Capital"},
}


async def test_fields_of_another_roles_profile_are_refused(api: Api, pool: Pool) -> None:
    for role in PROFILES:
        person = await add_user(pool, role)
        for field, value in [
            (f, v) for r, p in PROFILES.items() for f, v in p.items() if r != role
        ]:
            response = await api.call("PATCH", ME, person, json={field: value})
            assert fields_of(response) == [field]


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("full_name", None),
        ("full_name", "  "),
        ("full_name", "a\u0000b"),
        ("phone", "call me"),
        ("property_name", "x" * 101),
        ("tariff_per_kwh", "0"),
        ("tariff_per_kwh", "1.00001"),
        ("tariff_per_kwh", "NaN"),
        ("role", "admin"),
        ("email", "other@example.org"),
        ("is_active", True),
    ],
)
async def test_invalid_fields_of_a_profile_are_named(
    api: Api, pool: Pool, field: str, value: object
) -> None:
    host = await add_user(pool, "host")
    assert fields_of(await api.call("PATCH", ME, host, json={field: value})) == [field]


@pytest.mark.parametrize("role", ["buyer", "host", "investor"])
async def test_users_change_their_account_and_profile(api: Api, pool: Pool, role: str) -> None:
    person = await add_user(pool, role)
    before = await api.get(ME, person)
    assert before["profile"] == dict.fromkeys(PROFILES[role])
    wanted = {"full_name": " Asha R. Rao ", "phone": "+91 98450 12345"} | PROFILES[role]
    changed = data_of(await api.call("PATCH", ME, person, json=wanted))
    assert changed == before | {
        "full_name": "Asha R. Rao",
        "phone": "+91 98450 12345",
        "profile": PROFILES[role],
    }
    assert await api.get(ME, person) == changed
    emptied: dict[str, None] = dict.fromkeys(["phone", *PROFILES[role]])
    for nothing_given in ({}, {"full_name": "Asha R. Rao"}):
        assert data_of(await api.call("PATCH", ME, person, json=nothing_given)) == changed
    cleared = data_of(await api.call("PATCH", ME, person, json=emptied))
    assert cleared == before | {"full_name": "Asha R. Rao"}
    session = await sign_in(api, person.email, PASSWORD)
    assert data_of(session)["user"] == cleared


async def test_a_change_is_answered_as_it_is_stored(api: Api, pool: Pool) -> None:
    host = await add_user(pool, "host")
    changed = data_of(await api.call("PATCH", ME, host, json={"tariff_per_kwh": 7.5}))
    assert changed["profile"]["tariff_per_kwh"] == "7.5000"
    assert changed == await api.get(ME, host)


async def test_concurrent_changes_are_all_stored(api: Api, pool: Pool) -> None:
    host = await add_user(pool, "host")
    wanted = {"full_name": "Asha", "phone": "98450 12345"} | PROFILES["host"]
    await asyncio.gather(
        *(api.call("PATCH", ME, host, json={field: value}) for field, value in wanted.items())
    )
    user = await api.get(ME, host)
    assert user | user["profile"] == user | user["profile"] | wanted


async def sign_in(api: Api, email: str, password: str) -> httpx.Response:
    return await api.call("POST", LOGIN, json={"email": email, "password": password})


async def change_password(
    api: Api, person: Person, current: str, new: str = NEW_PASSWORD
) -> httpx.Response:
    body = {"current_password": current, "new_password": new}
    return await api.call("POST", CHANGE_PASSWORD, person, json=body)


async def test_a_password_change_needs_the_current_password(api: Api, pool: Pool) -> None:
    person = await add_user(pool)
    token = data_of(await sign_in(api, person.email, PASSWORD))["refresh_token"]
    response = await change_password(api, person, "wrong password")
    assert (response.status_code, code_of(response)) == (401, "bad_credentials")
    for new in ("short", "x" * 73, "é" * 37, "tab\tand\u0000nul"):
        assert fields_of(await change_password(api, person, PASSWORD, new)) == ["new_password"]
    assert (await refresh(api, token)).is_success
    assert (await sign_in(api, person.email, PASSWORD)).is_success


async def test_a_new_password_ends_every_sign_in(api: Api, pool: Pool) -> None:
    person, other = await add_user(pool), await add_user(pool)
    tokens = [
        data_of(await sign_in(api, who.email, PASSWORD))["refresh_token"]
        for who in (person, person, other)
    ]
    assert data_of(await change_password(api, person, PASSWORD)) is None
    assert [(await refresh(api, token)).status_code for token in tokens] == [401, 401, 200]
    assert code_of(await sign_in(api, person.email, PASSWORD)) == "bad_credentials"
    session = data_of(await sign_in(api, person.email, NEW_PASSWORD))
    assert (await refresh(api, session["refresh_token"])).is_success


async def test_one_of_two_concurrent_password_changes_wins(api: Api, pool: Pool) -> None:
    person = await add_user(pool)
    news = [f"new password {number}" for number in range(4)]
    answers = await asyncio.gather(*(change_password(api, person, PASSWORD, new) for new in news))
    [kept] = [new for new, answer in zip(news, answers, strict=True) if answer.is_success]
    assert (await sign_in(api, person.email, kept)).is_success


async def test_no_sign_in_survives_a_concurrent_password_change(api: Api, pool: Pool) -> None:
    person = await add_user(pool)
    tokens = [
        data_of(await sign_in(api, person.email, PASSWORD))["refresh_token"] for _ in range(5)
    ]
    changed, *answers = await asyncio.gather(
        change_password(api, person, PASSWORD),
        *(refresh(api, token) for token in tokens),
        *(sign_in(api, person.email, PASSWORD) for _ in range(5)),
    )
    assert changed.is_success
    handed_out = [data_of(answer)["refresh_token"] for answer in answers if answer.is_success]
    for token in tokens + handed_out:
        assert code_of(await refresh(api, token)) == "bad_token"


@pytest.fixture
async def person(pool: Pool) -> Person:
    return await add_user(pool)
