"""Passwords: bcrypt, in a thread, and as slow for people who do not exist."""

import asyncio

import bcrypt

PASSWORD_MAX_BYTES = 72


class Passwords:
    def __init__(self, rounds: int) -> None:
        self._rounds = rounds
        # A salt with a digest that nothing hashes to, but by chance of 2^-184.
        self._nobodys = bcrypt.gensalt(rounds).decode() + "." * 31

    async def hash(self, password: str) -> str:
        salt = bcrypt.gensalt(self._rounds)
        return (await asyncio.to_thread(bcrypt.hashpw, password.encode(), salt)).decode()

    async def matches(self, password: str, password_hash: str | None) -> bool:
        """Whether it is the password; takes as long for nobody's (None) as for somebody's."""
        expected = (password_hash or self._nobodys).encode()
        return await asyncio.to_thread(bcrypt.checkpw, password.encode(), expected)
