"""People register, sign in, stay signed in, sign out."""

import asyncio
from typing import Any

import httpx
import pytest

from db.pool import Pool
from tests.api.conftest import Api, code_of, data_of, fields_of
from tests.support.people import PASSWORD, add_user

REGISTER, LOGIN = "/api/v1/auth/register", "/api/v1/auth/login"
REFRESH, LOGOUT, ME = "/api/v1/auth/refresh", "/api/v1/auth/logout", "/api/v1/auth/me"
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


async def test_whoever_registers_is_signed_in_with_an_empty_wallet(api: Api, pool: Pool) -> None:
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


async def test_an_email_is_taken_in_any_case_and_by_one_only(api: Api) -> None:
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


async def test_whoever_was_shut_out_can_not_sign_in(api: Api, pool: Pool) -> None:
    person = await add_user(pool)
    await pool.execute("UPDATE users SET is_active = false")
    body = {"email": person.email, "password": PASSWORD}
    assert code_of(await api.call("POST", LOGIN, json=body)) == "bad_credentials"


async def refresh(api: Api, token: str) -> httpx.Response:
    return await api.call("POST", REFRESH, json={"refresh_token": token})


async def test_a_refresh_token_is_spent_once_and_twice_revokes_its_family(api: Api) -> None:
    first = data_of(await register(api))["refresh_token"]
    second = data_of(await refresh(api, first))["refresh_token"]
    third = data_of(await refresh(api, second))["refresh_token"]
    assert code_of(await refresh(api, first)) == "bad_token"
    assert code_of(await refresh(api, third)) == "bad_token"
    login = {"email": ASHA["email"], "password": ASHA["password"]}
    other = data_of(await api.call("POST", LOGIN, json=login))["refresh_token"]
    assert (await refresh(api, other)).is_success


async def test_a_refresh_token_that_is_sent_twice_at_once_is_spent_once(api: Api) -> None:
    token = data_of(await register(api))["refresh_token"]
    answers = await asyncio.gather(*(refresh(api, token) for _ in range(5)))
    [renewed] = [answer for answer in answers if answer.is_success]
    assert code_of(await refresh(api, data_of(renewed)["refresh_token"])) == "bad_token"


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
