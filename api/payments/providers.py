"""The payment providers whose adapters run in this process, as `PAYMENT_PROVIDERS` names them."""

import asyncio
from collections.abc import Collection

from api.payments.sandbox import Sandbox
from core.errors import NotFound, PaymentsUnavailable
from core.settings import ApiSettings
from db.pool import Pool


class PaymentProviders:
    """`run` it for as long as the API serves. Without any adapter it does nothing."""

    def __init__(self, pool: Pool, settings: ApiSettings) -> None:
        adapters = {"sandbox": Sandbox}
        self._adapters = {
            name: adapters[name](pool, settings)
            for name in dict.fromkeys(settings.payment_providers)
        }

    @property
    def names(self) -> Collection[str]:
        return self._adapters.keys()

    def webhook_secret(self, name: str) -> str:
        """What a provider signs with. Raises NotFound: its adapter does not run here."""
        if name not in self._adapters:
            raise NotFound(what="payment provider")
        return self._adapters[name].webhook_secret

    def check_any(self) -> None:
        """Raises PaymentsUnavailable."""
        if not self._adapters:
            raise PaymentsUnavailable

    def wake(self, name: str) -> None:
        """Tell an adapter that an order of its provider was committed."""
        if name in self._adapters:
            self._adapters[name].wake()

    async def run(self) -> None:
        """Run every adapter until cancelled."""
        async with asyncio.TaskGroup() as tasks:
            for adapter in self._adapters.values():
                tasks.create_task(adapter.run())
            await asyncio.Event().wait()
