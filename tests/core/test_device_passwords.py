"""Passwords of devices are derived from a secret and need not be stored."""

import re
from uuid import UUID

from pydantic import SecretStr

from core.device_passwords import password_of, secret_of

DEVICE = UUID("b1f7c9a0-6c0e-4f0f-9a3e-2d1f6f0a9b11")


def test_the_same_secret_makes_the_same_password_again() -> None:
    # A fixed value: if it changed, devices could not sign in at a broker that lost its accounts.
    assert password_of(b"secret", DEVICE, 1) == "c2678c38e08d3faf19956108af7d49a8"


def test_each_secret_device_and_version_has_another_password() -> None:
    other = UUID(int=DEVICE.int + 1)
    made = [
        password_of(secret, device, version)
        for secret in (b"secret", b"another")
        for device in (DEVICE, other)
        for version in (1, 2, 12)
    ]
    assert len(set(made)) == len(made)
    assert all(re.fullmatch("[0-9a-f]{32}", password) for password in made)


def test_a_set_secret_precedes_the_derived_one() -> None:
    jwt = SecretStr("j" * 32)
    assert secret_of(SecretStr("d" * 32), jwt) == b"d" * 32
    derived = secret_of(None, jwt)
    assert derived is not None
    assert b"j" * 32 not in derived
    assert secret_of(None, None) is None
