"""The accountant's accounts as JSON text. Each is read and written with every batch: made in C."""

from msgspec.json import Decoder, encode

from core.accountant import Account

from_json = Decoder(Account).decode


def to_json(account: Account) -> str:
    return encode(account).decode()
