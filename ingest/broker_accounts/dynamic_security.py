"""Mosquitto's dynamic-security plugin, asked over MQTT (`$CONTROL/dynamic-security/v1`).

Answers go to everybody who listens for them, so each question carries a number of our own.
"""

import asyncio
import json
import re
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from typing import Any
from uuid import uuid4

from core.exceptions import root_cause
from core.settings import MqttSettings
from ingest.broker import BrokerEndpoint
from ingest.broker_accounts.commands import OWN_ROLE, Command, KnownBrokerAccount
from ingest.mqtt.codec import ReceivedPublish
from ingest.mqtt.connection import MqttConnection, MqttError

_TOPIC = "$CONTROL/dynamic-security/v1"
_ANSWERS = f"{_TOPIC}/response"
_VERSION = "$SYS/broker/version"
_SEND_S = 10.0
_MEET_WITHIN_S = 5.0
_VERSION_WITHIN_S = 2.0
_PAGE = 500
_PATTERNS_SINCE = (2, 1)

Answer = dict[str, Any]


class NoPlugin(Exception):
    """The broker does not answer for the plugin: it has none, or the hub may not ask it."""


class BrokerAway(Exception):
    """The broker can't be reached, or does not let the hub in."""


class CommandRefused(Exception):
    """The plugin did not do what it was told."""


class Plugin:
    """`patterns`: whether it puts the user's name in for `%u` in access lists."""

    def __init__(self, connection: MqttConnection, answer_within_s: float) -> None:
        self._connection = connection
        self._answer_within_s = answer_within_s
        self._waiting: dict[str, asyncio.Future[list[Answer]]] = {}
        self._version: asyncio.Future[str] = asyncio.get_running_loop().create_future()
        self.patterns = False

    async def read(self) -> None:
        """Hand out answers until the connection is lost. Raises MqttError then."""
        async for message in self._connection.messages():
            self._connection.acknowledge(message.packet_id, message.size_bytes)
            self._receive(message)

    def _receive(self, message: ReceivedPublish) -> None:
        if message.topic == _VERSION.encode():
            if not self._version.done():
                self._version.set_result(message.payload.decode())
            return
        answers = json.loads(message.payload).get("responses", [])
        number = answers[0].get("correlationData", "") if answers else ""
        waiting = self._waiting.get(number)
        if waiting is not None and not waiting.done():
            waiting.set_result(answers)

    async def meet(self) -> None:
        """Learn what it can do. Raises NoPlugin when nobody answers."""
        try:
            async with asyncio.timeout(_MEET_WITHIN_S):
                await self.ask([{"command": "getDefaultACLAccess"}])
        except TimeoutError:
            raise NoPlugin from None
        try:
            async with asyncio.timeout(_VERSION_WITHIN_S):
                told = await self._version
        except TimeoutError:
            return  # its roles will be longer than they might be
        found = re.search(r"(\d+)\.(\d+)", told)
        self.patterns = found is not None and tuple(map(int, found.groups())) >= _PATTERNS_SINCE

    async def ask(self, commands: Sequence[Command]) -> list[Answer]:
        """The answers in the commands' order. Raises TimeoutError, Refused, MqttError."""
        number = uuid4().hex
        payload = json.dumps({"commands": [c | {"correlationData": number} for c in commands]})
        answer: asyncio.Future[list[Answer]] = asyncio.get_running_loop().create_future()
        self._waiting[number] = answer
        try:
            async with asyncio.timeout(_SEND_S):
                await self._connection.publish(_TOPIC, payload)
            async with asyncio.timeout(self._answer_within_s):
                answers = await answer
        finally:
            del self._waiting[number]
        if len(answers) != len(commands):
            raise CommandRefused(f"{len(answers)} of {len(commands)} commands were answered")
        return answers

    async def _tell(self, command: Command) -> Answer:
        """Have it carried out. Raises Refused."""
        [answer] = await self.ask([command])
        if "error" in answer:
            raise CommandRefused(f"{command['command']}: {answer['error']}")
        return answer

    async def known(self) -> KnownBrokerAccount:
        """All accounts with their marks, and the roles of single devices."""
        accounts = await self._listed("listClients", "clients", verbose=True)
        roles = await self._listed("listRoles", "roles", verbose=False)
        return KnownBrokerAccount(
            marks={a["username"]: a.get("textdescription", "") for a in accounts},
            roles={role for role in roles if role.startswith(OWN_ROLE)},
        )

    async def _listed(self, command: str, what: str, *, verbose: bool) -> list[Any]:
        """By pages. Between them nothing is changed by us, and nobody else keeps accounts."""
        found: list[Any] = []
        while True:
            page = {"command": command, "verbose": verbose, "count": _PAGE, "offset": len(found)}
            data = (await self._tell(page))["data"]
            found += data[what]
            if len(found) >= data["totalCount"] or not data[what]:
                return found

    async def settle_role(self, name: str, acls: Sequence[Command]) -> None:
        """Have a role with just this access list. One that has it is left alone.

        To change a role disconnects all who have it.
        """
        [answer] = await self.ask([{"command": "getRole", "rolename": name}])
        if "error" in answer:
            await self._tell({"command": "createRole", "rolename": name, "acls": list(acls)})
        elif _comparable(answer["data"]["role"]["acls"]) != _comparable(acls):
            await self._tell({"command": "modifyRole", "rolename": name, "acls": list(acls)})


@asynccontextmanager
async def open_plugin(
    broker: BrokerEndpoint, identifier: str, answer_within_s: float
) -> AsyncIterator[Plugin]:
    """A plugin that has answered. Raises NoPlugin, MqttError: also when it is lost."""
    async with broker.connect(identifier, clean_session=True) as connection:
        try:
            async with asyncio.timeout(_SEND_S):
                await connection.subscribe([(_ANSWERS, 1), (_VERSION, 0)])
        except TimeoutError:
            raise MqttError("the broker does not answer") from None
        plugin = Plugin(connection, answer_within_s)
        try:
            async with asyncio.TaskGroup() as tasks:
                reading = tasks.create_task(plugin.read())
                await plugin.meet()
                yield plugin
                reading.cancel()
        except BaseExceptionGroup as errors:
            raise root_cause(errors) from None


async def accounts_at(settings: MqttSettings) -> int:
    """How many accounts the broker has. Raises NoPlugin, BrokerAway, SettingError."""
    broker = BrokerEndpoint.of(settings)
    try:
        async with open_plugin(broker, f"solarhub-{uuid4().hex}", _MEET_WITHIN_S) as plugin:
            return len((await plugin.known()).marks)
    except MqttError as error:
        raise BrokerAway(str(error)) from None


def _comparable(acls: Sequence[Command]) -> set[tuple[str, str, bool]]:
    return {(acl["acltype"], acl["topic"], acl["allow"]) for acl in acls}
