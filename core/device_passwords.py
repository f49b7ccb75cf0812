"""Passwords of devices, derived from a secret: the hub stores only their hashes.

The hub can set up a broker that has lost its accounts, because it derives each password again.
"""

import hashlib
import hmac

from pydantic import SecretStr

from core.ids import DeviceId


def secret_of(device_secret: SecretStr | None, jwt_secret: SecretStr | None) -> bytes | None:
    """Return the secret of device passwords: set, or derived from the JWT secret."""
    if device_secret is not None:
        return device_secret.get_secret_value().encode()
    if jwt_secret is None:
        return None
    return hmac.digest(jwt_secret.get_secret_value().encode(), b"device passwords", "sha256")


def password_of(secret: bytes, device_id: DeviceId, version: int) -> str:
    """Return the password of one version: 128 bits, unguessable without the secret.

    32 hexadecimal digits fit the input fields of common firmwares, and never look like an option.
    """
    message = b"%s:%d" % (device_id.bytes, version)
    return hmac.digest(secret, message, "sha256")[:16].hex()


def hash_of(password: str) -> bytes:
    """Return the hash that is stored. 128 random bits need no key stretching."""
    return hashlib.sha256(password.encode()).digest()
