"""Commands for Mosquitto's dynamic-security plugin that bring devices' accounts up to date. Pure.

Each account carries a mark in its description: a hash of what the account was made from. The plugin
lists the marks, so the hub finds outdated accounts without a record of its own. It leaves accounts
without a mark alone, unless their user name is the id of a device.

An account's rights come from its role. Since 2.1 the plugin substitutes the user name for `%u`, so
all native devices share one role; any other device has a role of its own. A second role of lower
priority denies everything else, so the broker's default access does not matter.
"""

import hashlib
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from core.device_passwords import hash_of, password_of
from core.dialects import Dialect, Topics, topics_of
from db.device_credentials import DeviceAccess

Command = dict[str, Any]

# These names and marks are stored by brokers in operation: to change one orphans their accounts.
MARK_PREFIX = "solarhub:"
OWN_ROLE_PREFIX = "solarhub-device-"
NATIVE_ROLE = "solarhub-native"
_DENY_ROLE = "solarhub-nothing-else"

_ROLE_EXISTS = "Role already exists"
_ALL_TOPICS = ("#", "$SYS/#", "$CONTROL/#")


@dataclass(slots=True)
class ListedAccounts:
    """The accounts that the broker has: a mark by user name, and the roles of single devices.

    `skipped` are user names to leave alone until the next listing, because the broker refused to
    change them or this hub does not know their dialect.
    """

    marks: dict[str, str] = field(default_factory=dict)
    roles: set[str] = field(default_factory=set)
    skipped: set[str] = field(default_factory=set)


@dataclass(frozen=True, slots=True)
class BrokerAccountChange:
    """Commands that bring one account up to date.

    `mark` is the account's mark afterwards, or None if the commands delete it.
    """

    username: str
    mark: str | None
    commands: tuple[Command, ...]

    def record(self, answers: Iterable[Mapping[str, Any]], listed: ListedAccounts) -> str | None:
        """Record in `listed` what the broker did, and return the first error.

        There is one answer per command, in the same order.
        """
        errors = [answer.get("error") for answer in answers]
        for command, error in zip(self.commands, errors, strict=True):
            # A change that failed after its first command has left its role behind.
            if command["command"] == "createRole" and error in (None, _ROLE_EXISTS):
                listed.roles.add(command["rolename"])
            elif command["command"] == "deleteRole" and error is None:
                listed.roles.discard(command["rolename"])
        refused = [str(error) for error in errors if error is not None]
        if refused:
            return refused[0]
        if self.mark is None:
            listed.marks.pop(self.username, None)
        else:
            listed.marks[self.username] = self.mark
        return None


@dataclass(frozen=True, slots=True)
class BrokerAccount:
    """The account that a device should have.

    `topics` are those of the device's own role, or None if it shares the role of native devices.
    """

    device: DeviceAccess
    topics: Topics | None
    mark: str

    @property
    def username(self) -> str:
        return str(self.device.id)

    @property
    def role(self) -> str:
        return NATIVE_ROLE if self.topics is None else f"{OWN_ROLE_PREFIX}{self.device.id}"


def account_of(device: DeviceAccess, *, username_patterns: bool) -> BrokerAccount | None:
    """Return the account that a device should have, or None if only a newer hub knows its dialect.

    `username_patterns` says that the broker substitutes the user name for `%u`.
    """
    if device.dialect not in set(Dialect):
        return None
    dialect = Dialect(device.dialect)
    is_shared = username_patterns and dialect is Dialect.NATIVE
    topics = None if is_shared else topics_of(device.id, dialect, device.external_id)
    source = device.credential_hash + repr(topics).encode()
    return BrokerAccount(device, topics, MARK_PREFIX + hashlib.sha256(source).hexdigest()[:32])


def shared_roles(*, username_patterns: bool) -> dict[str, list[Command]]:
    """Return the access lists of the roles that many devices have, by role name."""
    denied = [
        {"acltype": kind, "topic": topic, "priority": 0, "allow": False}
        for kind in ("publishClientSend", "publishClientReceive", "subscribePattern")
        for topic in (*_ALL_TOPICS, *(("$share/#",) if kind == "subscribePattern" else ()))
    ]
    if not username_patterns:
        return {_DENY_ROLE: denied}
    return {
        _DENY_ROLE: denied,
        NATIVE_ROLE: _allow(topics_of("%u", Dialect.NATIVE, None)),
    }


def pending_changes(
    wanted: Mapping[str, BrokerAccount], listed: ListedAccounts, secret: bytes
) -> Iterator[BrokerAccountChange]:
    """Yield all changes that the broker lacks: revocations first, then new accounts."""
    deleted = [
        username
        for username, mark in listed.marks.items()
        if username not in wanted and mark.startswith(MARK_PREFIX)
    ]
    orphaned_roles = {role.removeprefix(OWN_ROLE_PREFIX) for role in listed.roles} - wanted.keys()
    outdated = [u for u, a in wanted.items() if listed.marks.get(u, a.mark) != a.mark]
    missing = [u for u in wanted if u not in listed.marks]
    usernames = dict.fromkeys((*deleted, *orphaned_roles, *outdated, *missing))
    return changes_of(usernames, wanted, listed, secret)


def changes_of(
    usernames: Iterable[str],
    wanted: Mapping[str, BrokerAccount],
    listed: ListedAccounts,
    secret: bytes,
) -> Iterator[BrokerAccountChange]:
    """Yield the changes that the broker lacks for these user names, in their order.

    An account can't be created if the secret does not derive its password (the secret was
    replaced). If such an account is outdated, it is deleted, so that the old password ends.
    """
    for username in usernames:
        account, mark = wanted.get(username), listed.marks.get(username)
        if username in listed.skipped or (account is not None and account.mark == mark):
            continue
        password = None if account is None else _password(account.device, secret)
        if account is not None and password is not None:
            yield _replacement(account, password, listed)
        elif (mark or "").startswith(MARK_PREFIX) or f"{OWN_ROLE_PREFIX}{username}" in listed.roles:
            yield _deletion(username, listed)


def count_outdated(wanted: Mapping[str, BrokerAccount], listed: ListedAccounts) -> int:
    """Return how many accounts the broker lacks or has in an outdated state."""
    return sum(listed.marks.get(username) != a.mark for username, a in wanted.items())


def _password(device: DeviceAccess, secret: bytes) -> str | None:
    password = password_of(secret, device.id, device.credential_version)
    return password if hash_of(password) == device.credential_hash else None


def _replacement(
    account: BrokerAccount, password: str, listed: ListedAccounts
) -> BrokerAccountChange:
    commands: list[Command] = []
    if account.topics is not None:
        # The whole access list is set, so no right of an earlier dialect or name survives.
        verb = "modifyRole" if account.role in listed.roles else "createRole"
        acls = _allow(account.topics)
        commands.append({"command": verb, "rolename": account.role, "acls": acls})
    verb = "modifyClient" if account.username in listed.marks else "createClient"
    roles = [
        {"rolename": account.role, "priority": 1},
        {"rolename": _DENY_ROLE, "priority": 0},
    ]
    commands.append(
        {
            "command": verb, "username": account.username, "password": password,
            "textdescription": account.mark, "roles": roles,
        }
    )  # fmt: skip
    if account.topics is None and f"{OWN_ROLE_PREFIX}{account.username}" in listed.roles:
        commands.append(_role_deletion(account.username))
    return BrokerAccountChange(account.username, account.mark, tuple(commands))


def _deletion(username: str, listed: ListedAccounts) -> BrokerAccountChange:
    commands: list[Command] = []
    if username in listed.marks:
        commands.append({"command": "deleteClient", "username": username})
    if f"{OWN_ROLE_PREFIX}{username}" in listed.roles:
        commands.append(_role_deletion(username))
    return BrokerAccountChange(username, None, tuple(commands))


def _role_deletion(username: str) -> Command:
    return {"command": "deleteRole", "rolename": f"{OWN_ROLE_PREFIX}{username}"}


def _allow(topics: Topics) -> list[Command]:
    kinds = [
        *(("publishClientSend", topic) for topic in topics.publish),
        *(("publishClientReceive", topic) for topic in topics.read),
        *(("subscribePattern", topic) for topic in topics.read),
    ]
    return [{"acltype": kind, "topic": t, "priority": 1, "allow": True} for kind, t in kinds]
