"""What is to change at a broker, without one."""

from uuid import UUID, uuid4

import pytest

from core.device_passwords import hash_of, password_of
from core.dialects import Dialect
from db.device_credentials import DeviceAccess
from ingest.broker_accounts.commands import (
    BrokerAccount,
    BrokerAccountChange,
    KnownBrokerAccount,
    account_of,
    behind,
    due,
    due_of,
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


def account(access: DeviceAccess, *, patterns: bool = True) -> BrokerAccount:
    made = account_of(access, patterns=patterns)
    assert made is not None
    return made


def by_name(*accounts: BrokerAccount) -> dict[str, BrokerAccount]:
    return {account.username: account for account in accounts}


def verbs(change: BrokerAccountChange) -> list[str]:
    return [command["command"] for command in change.commands]


def caught_up(wanted: list[BrokerAccount], known: KnownBrokerAccount) -> list[list[str]]:
    """Carry out all that is due; then nothing is."""
    told = []
    for change in list(due(by_name(*wanted), known, SECRET)):
        told.append(verbs(change))
        assert change.answered([{} for _ in change.commands], known) is None
    assert list(due(by_name(*wanted), known, SECRET)) == []
    return told


@pytest.mark.parametrize(
    ("patterns", "told"),
    [(True, ["createClient"]), (False, ["createRole", "createClient"])],
    ids=["since 2.1", "before"],
)
def test_a_native_device_needs_a_role_of_its_own_where_names_are_not_put_in(
    patterns: bool, told: list[str]
) -> None:
    assert caught_up([account(device(), patterns=patterns)], KnownBrokerAccount()) == [told]
    assert ("solarhub-native" in shared_roles(patterns=patterns)) == patterns


def test_a_rotated_password_is_set_and_nothing_else_is_touched() -> None:
    known, before, other = KnownBrokerAccount(), device(), device()
    caught_up([account(before), account(other)], known)
    after = device(before.id, version=2)
    [change] = due(by_name(account(after), account(other)), known, SECRET)
    assert verbs(change) == ["modifyClient"]
    assert change.commands[0]["password"] == password_of(SECRET, before.id, 2)


def test_a_device_that_is_gone_goes_with_its_role() -> None:
    known = KnownBrokerAccount()
    gone = device(dialect=Dialect.OPENDTU, external_id="114182940773")
    caught_up([account(gone)], known)
    assert caught_up([], known) == [["deleteClient", "deleteRole"]]
    assert (known.marks, known.roles) == ({}, set())


def test_who_is_to_stop_comes_before_who_is_to_begin() -> None:
    known, gone, rotated = KnownBrokerAccount(), device(), device()
    caught_up([account(gone), account(rotated)], known)
    wanted = [account(device()), account(device(rotated.id, version=2))]
    assert caught_up(wanted, known) == [["deleteClient"], ["modifyClient"], ["createClient"]]


def test_of_those_that_have_just_changed_only_what_is_due_is_done() -> None:
    known, gone, stays, new, waiting = KnownBrokerAccount(), device(), device(), device(), device()
    caught_up([account(gone), account(stays)], known)
    wanted = by_name(account(waiting), account(new), account(stays))
    names = [str(gone.id), str(stays.id), str(new.id), str(uuid4())]
    changes = list(due_of(names, wanted, known, SECRET))
    assert [change.username for change in changes] == [str(gone.id), str(new.id)]
    assert [verbs(change) for change in changes] == [["deleteClient"], ["createClient"]]


def test_accounts_that_are_not_the_hubs_are_left_alone() -> None:
    known = KnownBrokerAccount(marks={"hub": "", "grafana": "reads", str(uuid4()): ""})
    assert list(due(by_name(), known, SECRET)) == []


def test_a_device_that_was_added_by_hand_is_taken_over() -> None:
    by_hand = device()
    known = KnownBrokerAccount(marks={str(by_hand.id): ""})
    assert caught_up([account(by_hand)], known) == [["modifyClient"]]


def test_a_role_whose_account_was_never_made_is_used_or_removed() -> None:
    stays, gone = account(device(), patterns=False), account(device(), patterns=False)
    known = KnownBrokerAccount(roles={stays.role, gone.role})
    assert caught_up([stays], known) == [["deleteRole"], ["modifyRole", "createClient"]]


def test_a_newer_broker_needs_no_role_for_each_native_device_any_more() -> None:
    native, known = device(), KnownBrokerAccount()
    caught_up([account(native, patterns=False)], known)
    assert caught_up([account(native)], known) == [["modifyClient", "deleteRole"]]


def test_a_password_that_the_secret_does_not_make_is_never_handed_on() -> None:
    foreign, known = account(device(secret=b"of before")), KnownBrokerAccount()
    assert list(due(by_name(foreign), known, SECRET)) == []
    assert behind(by_name(foreign), known) == 1


def test_a_password_that_is_out_of_date_stops_even_if_the_new_one_is_not_known() -> None:
    before, known = device(), KnownBrokerAccount()
    caught_up([account(before)], known)
    foreign = account(device(before.id, version=2, secret=b"of another hub"))
    assert caught_up([foreign], known) == [["deleteClient"]]


def test_what_the_broker_refused_is_left_alone_until_it_is_listed_again() -> None:
    refused = account(device())
    assert list(due(by_name(refused), KnownBrokerAccount(alone={refused.username}), SECRET)) == []


def test_a_device_of_a_dialect_that_only_a_newer_hub_knows_is_no_concern_of_ours() -> None:
    assert account_of(device(dialect="later", external_id="x"), patterns=True) is None


def test_nothing_but_what_a_role_allows_is_allowed_whatever_the_brokers_defaults() -> None:
    denied = shared_roles(patterns=False)["solarhub-nothing-else"]
    for kind in ("publishClientSend", "publishClientReceive", "subscribePattern"):
        topics = {acl["topic"] for acl in denied if acl["acltype"] == kind and not acl["allow"]}
        assert {"#", "$SYS/#", "$CONTROL/#"} <= topics
    assert not any(acl["allow"] for acl in denied)
