"""The changes that bring a broker's accounts up to date, without a broker."""

from uuid import UUID, uuid4

import pytest

from core.device_passwords import hash_of, password_of
from core.dialects import Dialect
from db.device_credentials import DeviceAccess
from ingest.broker_accounts.commands import (
    BrokerAccount,
    BrokerAccountChange,
    ListedAccounts,
    account_of,
    changes_of,
    count_outdated,
    pending_changes,
    shared_roles,
)

SECRET = b"of the test"


def device(
    device_id: UUID | None = None, *, version: int = 1, dialect: str = "native",
    external_id: str | None = None, secret: bytes = SECRET,
) -> DeviceAccess:  # fmt: skip
    device_id = device_id or uuid4()
    password = password_of(secret, device_id, version)
    return DeviceAccess(device_id, dialect, external_id, version, hash_of(password))


def account(access: DeviceAccess, *, username_patterns: bool = True) -> BrokerAccount:
    made = account_of(access, username_patterns=username_patterns)
    assert made is not None
    return made


def by_name(*accounts: BrokerAccount) -> dict[str, BrokerAccount]:
    return {account.username: account for account in accounts}


def names_of_commands(change: BrokerAccountChange) -> list[str]:
    return [command["command"] for command in change.commands]


def apply_all(wanted: list[BrokerAccount], listed: ListedAccounts) -> list[list[str]]:
    """Apply all pending changes, assert that none is left, and return their commands."""
    applied = []
    for change in list(pending_changes(by_name(*wanted), listed, SECRET)):
        applied.append(names_of_commands(change))
        assert change.record([{} for _ in change.commands], listed) is None
    assert list(pending_changes(by_name(*wanted), listed, SECRET)) == []
    return applied


@pytest.mark.parametrize(
    ("username_patterns", "applied"),
    [(True, ["createClient"]), (False, ["createRole", "createClient"])],
    ids=["since Mosquitto 2.1", "before"],
)
def test_a_native_device_needs_a_role_of_its_own_if_the_broker_substitutes_no_user_names(
    username_patterns: bool, applied: list[str]
) -> None:
    wanted = account(device(), username_patterns=username_patterns)
    assert apply_all([wanted], ListedAccounts()) == [applied]
    assert (
        "solarhub-native" in shared_roles(username_patterns=username_patterns)
    ) == username_patterns


def test_a_rotated_password_is_set_and_nothing_else_changes() -> None:
    listed, before, other = ListedAccounts(), device(), device()
    apply_all([account(before), account(other)], listed)
    after = device(before.id, version=2)
    [change] = pending_changes(by_name(account(after), account(other)), listed, SECRET)
    assert names_of_commands(change) == ["modifyClient"]
    assert change.commands[0]["password"] == password_of(SECRET, before.id, 2)


def test_the_account_of_a_deleted_device_is_deleted_with_its_role() -> None:
    listed = ListedAccounts()
    gone = device(dialect=Dialect.OPENDTU, external_id="114182940773")
    apply_all([account(gone)], listed)
    assert apply_all([], listed) == [["deleteClient", "deleteRole"]]
    assert (listed.marks, listed.roles) == ({}, set())


def test_revoked_accounts_come_before_new_ones() -> None:
    listed, gone, rotated = ListedAccounts(), device(), device()
    apply_all([account(gone), account(rotated)], listed)
    wanted = [account(device()), account(device(rotated.id, version=2))]
    assert apply_all(wanted, listed) == [["deleteClient"], ["modifyClient"], ["createClient"]]


def test_only_outdated_accounts_of_changed_devices_are_changed() -> None:
    listed, gone, stays, new, waiting = ListedAccounts(), device(), device(), device(), device()
    apply_all([account(gone), account(stays)], listed)
    wanted = by_name(account(waiting), account(new), account(stays))
    names = [str(gone.id), str(stays.id), str(new.id), str(uuid4())]
    changes = list(changes_of(names, wanted, listed, SECRET))
    assert [change.username for change in changes] == [str(gone.id), str(new.id)]
    assert [names_of_commands(change) for change in changes] == [["deleteClient"], ["createClient"]]


def test_accounts_without_the_hubs_mark_are_left_alone() -> None:
    listed = ListedAccounts(marks={"hub": "", "grafana": "reads", str(uuid4()): ""})
    assert list(pending_changes(by_name(), listed, SECRET)) == []


def test_a_device_account_that_was_created_by_hand_is_replaced() -> None:
    by_hand = device()
    listed = ListedAccounts(marks={str(by_hand.id): ""})
    assert apply_all([account(by_hand)], listed) == [["modifyClient"]]


def test_a_role_without_an_account_is_used_or_deleted() -> None:
    stays, gone = [account(device(), username_patterns=False) for _ in range(2)]
    listed = ListedAccounts(roles={stays.role, gone.role})
    assert apply_all([stays], listed) == [["deleteRole"], ["modifyRole", "createClient"]]


def test_roles_of_native_devices_are_deleted_after_an_upgrade_of_the_broker() -> None:
    native, listed = device(), ListedAccounts()
    apply_all([account(native, username_patterns=False)], listed)
    assert apply_all([account(native)], listed) == [["modifyClient", "deleteRole"]]


def test_an_account_is_not_created_if_the_secret_does_not_derive_its_password() -> None:
    foreign, listed = account(device(secret=b"of before")), ListedAccounts()
    assert list(pending_changes(by_name(foreign), listed, SECRET)) == []
    assert count_outdated(by_name(foreign), listed) == 1


def test_an_outdated_account_is_deleted_if_the_secret_does_not_derive_the_new_password() -> None:
    before, listed = device(), ListedAccounts()
    apply_all([account(before)], listed)
    foreign = account(device(before.id, version=2, secret=b"of another hub"))
    assert apply_all([foreign], listed) == [["deleteClient"]]


def test_skipped_accounts_are_left_alone() -> None:
    refused = account(device())
    assert (
        list(pending_changes(by_name(refused), ListedAccounts(skipped={refused.username}), SECRET))
        == []
    )


def test_a_device_with_an_unknown_dialect_has_no_account() -> None:
    assert account_of(device(dialect="later", external_id="x"), username_patterns=True) is None


def test_a_shared_role_denies_everything_that_a_device_role_does_not_allow() -> None:
    denied = shared_roles(username_patterns=False)["solarhub-nothing-else"]
    for kind in ("publishClientSend", "publishClientReceive", "subscribePattern"):
        topics = {acl["topic"] for acl in denied if acl["acltype"] == kind and not acl["allow"]}
        assert {"#", "$SYS/#", "$CONTROL/#"} <= topics
    assert not any(acl["allow"] for acl in denied)
