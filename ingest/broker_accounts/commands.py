"""Devices' accounts in Mosquitto's dynamic-security plugin: what is to change, as its commands.

Pure. An account carries a mark of what it was made from, which the plugin lists: so the hub sees
what is out of date without knowing anything of before, and what is not its own it leaves alone.

What a device may do is its role's. Since 2.1 the plugin puts the user's name in for `%u`, and
native devices share one role. Otherwise a device has a role of its own. A second role, asked after
the first, denies all the rest, whatever the broker's defaults are.
"""

import hashlib
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from core.device_passwords import hash_of, password_of
from core.dialects import Dialect, Topics, topics_of
from db.device_credentials import DeviceAccess

Command = dict[str, Any]

MARK = "solarhub:"
OWN_ROLE = "solarhub-device-"
NATIVE_ROLE = "solarhub-native"
_LIMITS_ROLE = "solarhub-nothing-else"

_ROLE_EXISTS = "Role already exists"
_EVERYTHING = ("#", "$SYS/#", "$CONTROL/#")


@dataclass(slots=True)
class KnownBrokerAccount:
    """What the broker has: the mark of each account, and the roles of single devices.

    `alone`: accounts to leave alone for now, because the broker refused to change them.
    """

    marks: dict[str, str] = field(default_factory=dict)
    roles: set[str] = field(default_factory=set)
    alone: set[str] = field(default_factory=set)


@dataclass(frozen=True, slots=True)
class BrokerAccountChange:
    """Commands that bring one device up to date; `mark`: its account's after them, None: gone."""

    username: str
    mark: str | None
    commands: tuple[Command, ...]

    def answered(
        self, answers: Iterable[Mapping[str, Any]], known: KnownBrokerAccount
    ) -> str | None:
        """Note what of it was done, one answer for each command. Returns the first error."""
        errors = [answer.get("error") for answer in answers]
        for command, error in zip(self.commands, errors, strict=True):
            # A role that was made by half of a change before is there all the same.
            if command["command"] == "createRole" and error in (None, _ROLE_EXISTS):
                known.roles.add(command["rolename"])
            elif command["command"] == "deleteRole" and error is None:
                known.roles.discard(command["rolename"])
        refused = [str(error) for error in errors if error is not None]
        if refused:
            return refused[0]
        if self.mark is None:
            known.marks.pop(self.username, None)
        else:
            known.marks[self.username] = self.mark
        return None


@dataclass(frozen=True, slots=True)
class BrokerAccount:
    """`topics`: of its own role; None where it shares the native devices'."""

    device: DeviceAccess
    topics: Topics | None
    mark: str

    @property
    def username(self) -> str:
        return str(self.device.id)

    @property
    def role(self) -> str:
        return NATIVE_ROLE if self.topics is None else f"{OWN_ROLE}{self.device.id}"


def account_of(device: DeviceAccess, *, patterns: bool) -> BrokerAccount | None:
    """`patterns`: whether the broker puts the user's name in for `%u`.

    None where it speaks what a newer hub knows.
    """
    if device.dialect not in set(Dialect):
        return None
    dialect = Dialect(device.dialect)
    shared = patterns and dialect is Dialect.NATIVE
    topics = None if shared else topics_of(device.id, dialect, device.external_id)
    made_from = device.credential_hash + repr(topics).encode()
    return BrokerAccount(device, topics, MARK + hashlib.sha256(made_from).hexdigest()[:32])


def shared_roles(*, patterns: bool) -> dict[str, list[Command]]:
    """The access lists of roles that many devices have."""
    denied = [
        {"acltype": kind, "topic": topic, "priority": 0, "allow": False}
        for kind in ("publishClientSend", "publishClientReceive", "subscribePattern")
        for topic in (*_EVERYTHING, *(("$share/#",) if kind == "subscribePattern" else ()))
    ]
    if not patterns:
        return {_LIMITS_ROLE: denied}
    return {
        _LIMITS_ROLE: denied,
        NATIVE_ROLE: _allowing(topics_of("%u", Dialect.NATIVE, None)),
    }


def due(
    wanted: Mapping[str, BrokerAccount], known: KnownBrokerAccount, secret: bytes
) -> Iterator[BrokerAccountChange]:
    """What the broker lacks, the most urgent first: who is to stop, then who is to begin."""
    gone = [u for u, mark in known.marks.items() if u not in wanted and mark.startswith(MARK)]
    without_account = {role.removeprefix(OWN_ROLE) for role in known.roles} - wanted.keys()
    stale = [u for u, a in wanted.items() if known.marks.get(u, a.mark) != a.mark]
    missing = [u for u in wanted if u not in known.marks]
    everyone = dict.fromkeys((*gone, *without_account, *stale, *missing))
    return due_of(everyone, wanted, known, secret)


def due_of(
    usernames: Iterable[str],
    wanted: Mapping[str, BrokerAccount],
    known: KnownBrokerAccount,
    secret: bytes,
) -> Iterator[BrokerAccountChange]:
    """What of these the broker lacks, in their order.

    An account whose password the secret does not make can't be made; if it is out of date, it goes.
    """
    for username in usernames:
        account, mark = wanted.get(username), known.marks.get(username)
        if username in known.alone or (account is not None and account.mark == mark):
            continue
        password = None if account is None else _password(account.device, secret)
        if account is not None and password is not None:
            yield _renewal(account, password, known)
        elif (mark or "").startswith(MARK) or f"{OWN_ROLE}{username}" in known.roles:
            yield _deletion(username, known)


def behind(wanted: Mapping[str, BrokerAccount], known: KnownBrokerAccount) -> int:
    """How many accounts the broker still lacks, or has as they were."""
    return sum(known.marks.get(username) != a.mark for username, a in wanted.items())


def _password(device: DeviceAccess, secret: bytes) -> str | None:
    password = password_of(secret, device.id, device.credential_version)
    return password if hash_of(password) == device.credential_hash else None


def _renewal(
    account: BrokerAccount, password: str, known: KnownBrokerAccount
) -> BrokerAccountChange:
    commands: list[Command] = []
    if account.topics is not None:
        # An account that is renewed keeps no right of before: the whole list is set.
        verb = "modifyRole" if account.role in known.roles else "createRole"
        acls = _allowing(account.topics)
        commands.append({"command": verb, "rolename": account.role, "acls": acls})
    verb = "modifyClient" if account.username in known.marks else "createClient"
    roles = [
        {"rolename": account.role, "priority": 1},
        {"rolename": _LIMITS_ROLE, "priority": 0},
    ]
    commands.append(
        {
            "command": verb, "username": account.username, "password": password,
            "textdescription": account.mark, "roles": roles,
        }
    )  # fmt: skip
    if account.topics is None and f"{OWN_ROLE}{account.username}" in known.roles:
        commands.append(_role_deletion(account.username))
    return BrokerAccountChange(account.username, account.mark, tuple(commands))


def _deletion(username: str, known: KnownBrokerAccount) -> BrokerAccountChange:
    commands: list[Command] = []
    if username in known.marks:
        commands.append({"command": "deleteClient", "username": username})
    if f"{OWN_ROLE}{username}" in known.roles:
        commands.append(_role_deletion(username))
    return BrokerAccountChange(username, None, tuple(commands))


def _role_deletion(username: str) -> Command:
    return {"command": "deleteRole", "rolename": f"{OWN_ROLE}{username}"}


def _allowing(topics: Topics) -> list[Command]:
    kinds = [
        *(("publishClientSend", topic) for topic in topics.publish),
        *(("publishClientReceive", topic) for topic in topics.read),
        *(("subscribePattern", topic) for topic in topics.read),
    ]
    return [{"acltype": kind, "topic": t, "priority": 1, "allow": True} for kind, t in kinds]
