"""Detection of card and account numbers in any notation. They are never stored.

A text is normalised first. Full-width, superscript and other scripts' digits become ASCII digits.
Characters between groups of digits that are no letters are removed: spaces, dashes, dots,
characters without width.
"""

import re
import unicodedata

# The shortest account numbers in India have 9 digits.
_ACCOUNT_DIGITS_MIN = 9
# Stands for a character that is neither a digit nor a letter; no text of a request holds it.
_GAP = "\x00"
_NUMBER = re.compile(r"[0-9]+")
_CARD = re.compile(r"(?<![0-9A-Za-z])[0-9]{13,19}(?![0-9A-Za-z])")


def is_account_number(text: str) -> bool:
    """Return True if the whole text is a card or account number."""
    bare = _normalised(text)
    return len(bare) >= _ACCOUNT_DIGITS_MIN and bare.isdecimal()


def holds_account_number(text: str) -> bool:
    """Return True if a part of the text may be a card or account number."""
    return any(len(number) >= _ACCOUNT_DIGITS_MIN for number in _NUMBER.findall(_normalised(text)))


def holds_card_number(text: str) -> bool:
    """Return True if a word of the text is a card number, by its check digit."""
    return any(_passes_luhn(number) for number in _CARD.findall(_normalised(text)))


def _normalised(text: str) -> str:
    """Return the text with ASCII digits, and nothing between the digits of one number."""
    digits = "".join(map(_digit, unicodedata.normalize("NFKC", text)))
    joined = re.sub(rf"(?<=[0-9]){_GAP}+(?=[0-9])", "", digits)
    return joined.strip(_GAP)


def _digit(character: str) -> str:
    value = unicodedata.decimal(character, None)
    if value is not None:
        return str(value)
    return character if character.isalpha() else _GAP


def _passes_luhn(number: str) -> bool:
    """Check the last digit by the Luhn algorithm: US patent 2,950,048; ISO/IEC 7812-1, annex B."""
    doubled = [int(digit) * 2 for digit in number[-2::-2]]
    return (sum(map(int, number[-1::-2])) + sum(n - 9 if n > 9 else n for n in doubled)) % 10 == 0
