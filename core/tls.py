"""TLS contexts of clients."""

import ssl

from core.settings import SettingError, variable


def client_context(ca_file: str | None) -> ssl.SSLContext:
    """Return a context that trusts the certificates in a file, or those of the system.

    Raises SettingError if the file can't be used.
    """
    try:
        return ssl.create_default_context(cafile=ca_file)
    except OSError as error:
        # ssl.SSLError derives from OSError.
        reason = "no certificate in it" if isinstance(error, ssl.SSLError) else error.strerror
        raise SettingError(f"{variable('mqtt_ca_file')}: can't be used: {reason}") from None
