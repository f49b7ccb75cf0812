"""The adapters of payment providers that run in this process."""

import asyncio
from collections.abc import Collection

from api.payments.sandbox import Sandbox
from core.errors import NotFound, PaymentsUnavailable
from core.settings import ApiSettings
from db.pool import Pool


class PaymentProviders:
    """The adapters that `PAYMENT_PROVIDERS` names. `run` them while the API serves."""

    def __init__(self, pool: Pool, settings: ApiSettings) -> None:
        adapters = {"sandbox": Sandbox}
        self._adapters = {
            name: adapters[name](pool, settings)
            for name in dict.fromkeys(settings.payment_providers)
        }

    @property
    def names(self) -> Collection[str]:
        """Return the names of the providers."""
        return self._adapters.keys()

    def webhook_secret(self, name: str) -> str:
        """Return the secret of a provider. Raises NotFound if its adapter does not run here."""
        if name not in self._adapters:
            raise NotFound(what="payment provider")
        return self._adapters[name].webhook_secret

    def check_any(self) -> None:
        """Raise PaymentsUnavailable if no adapter runs here."""
        if not self._adapters:
            raise PaymentsUnavailable

    def wake(self, name: str) -> None:
        """Wake an adapter after the commit of an order of its provider."""
        if name in self._adapters:
            self._adapters[name].wake()

    async def run(self) -> None:
        """Run every adapter until cancelled."""
        async with asyncio.TaskGroup() as tasks:
            for adapter in self._adapters.values():
                tasks.create_task(adapter.run())
            await asyncio.Event().wait()
