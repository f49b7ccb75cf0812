"""Whom to trust over TLS."""

import ssl

from core.settings import SettingError, variable


def trusting(ca_file: str | None) -> ssl.SSLContext:
    """Those whose certificates are in the file, else those whom the system trusts.

    Raises SettingError when the file can't be used.
    """
    try:
        return ssl.create_default_context(cafile=ca_file)
    except OSError as error:  # ssl.SSLError is one
        reason = "no certificate in it" if isinstance(error, ssl.SSLError) else error.strerror
        raise SettingError(f"{variable('mqtt_ca_file')}: can't be used: {reason}") from None
