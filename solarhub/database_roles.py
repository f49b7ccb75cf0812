"""What the processes' database roles sign in with."""

from core.settings import RoleSettings
from db import roles


def role_passwords(settings: RoleSettings) -> dict[str, str]:
    """The passwords that are set, by role."""
    passwords = {
        roles.API: settings.database_password_api,
        roles.INGEST: settings.database_password_ingest,
        roles.RELAY: settings.database_password_relay,
        roles.REALTIME: settings.database_password_realtime,
    }
    return {role: secret.get_secret_value() for role, secret in passwords.items() if secret}
