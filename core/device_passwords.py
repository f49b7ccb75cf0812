"""The passwords of devices: made from a secret, so that none has to be kept to be known again.

The hub tells a broker that has lost everything each device's password. It keeps hashes alone: with
the secret it makes the passwords anew.
"""

import hashlib
import hmac

from pydantic import SecretStr

from core.ids import DeviceId


def secret_of(device_secret: SecretStr | None, jwt_secret: SecretStr | None) -> bytes | None:
    """Its own where one is set; else one that all processes derive from the same secret."""
    if device_secret is not None:
        return device_secret.get_secret_value().encode()
    if jwt_secret is None:
        return None
    return hmac.digest(jwt_secret.get_secret_value().encode(), b"device passwords", "sha256")


def password_of(secret: bytes, device_id: DeviceId, version: int) -> str:
    """128 bits that nobody can guess without the secret; another for each version.

    32 hexadecimal digits: they fit the forms of common firmwares, and never look like an option.
    """
    message = b"%s:%d" % (device_id.bytes, version)
    return hmac.digest(secret, message, "sha256")[:16].hex()


def hash_of(password: str) -> bytes:
    """What is kept of a password. 128 random bits need no stretching."""
    return hashlib.sha256(password.encode()).digest()
