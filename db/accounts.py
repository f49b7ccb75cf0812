"""The accountant's accounts as JSON text. Each is read and written with every batch: made in C."""

from msgspec.json import Decoder, encode

from core.accounting import AccountingState

from_json = Decoder(AccountingState).decode


def to_json(account: AccountingState) -> str:
    return encode(account).decode()
