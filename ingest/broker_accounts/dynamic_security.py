"""A client of Mosquitto's dynamic-security plugin, over MQTT (`$CONTROL/dynamic-security/v1`).

Every subscriber of the response topic receives all responses, so each request carries a correlation
id of its own.
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
from ingest.broker_accounts.commands import OWN_ROLE_PREFIX, Command, ListedAccounts
from ingest.mqtt.codec import ReceivedPublish
from ingest.mqtt.connection import MqttConnection, MqttError

_TOPIC = "$CONTROL/dynamic-security/v1"
_RESPONSE_TOPIC = f"{_TOPIC}/response"
_VERSION_TOPIC = "$SYS/broker/version"

_SEND_TIMEOUT_S = 10.0
# A broker without the plugin does not answer at all: only a timeout shows it.
_PROBE_TIMEOUT_S = 5.0
_VERSION_TIMEOUT_S = 2.0

_PAGE_SIZE = 500
_USERNAME_PATTERNS_SINCE = (2, 1)

Answer = dict[str, Any]


class PluginUnavailable(Exception):
    """The plugin does not answer: the broker lacks it, or denies the hub access to it."""


class BrokerUnreachable(Exception):
    """The broker can't be reached, or rejects the hub's credentials."""


class CommandRefused(Exception):
    """The plugin did not execute a command."""


class DynamicSecurityClient:
    """Sends commands to the plugin and matches its responses to them.

    `username_patterns` says that the plugin substitutes the user name for `%u` in access lists.
    """

    def __init__(self, connection: MqttConnection, answer_timeout_s: float) -> None:
        self._connection = connection
        self._answer_timeout_s = answer_timeout_s
        # By correlation id; an entry exists only while its `send` waits.
        self._waiting: dict[str, asyncio.Future[list[Answer]]] = {}
        self._version: asyncio.Future[str] = asyncio.get_running_loop().create_future()
        self.username_patterns = False

    async def read(self) -> None:
        """Hand out responses until the connection is lost, then raise MqttError."""
        async for message in self._connection.messages():
            self._connection.acknowledge(message.packet_id, message.size_bytes)
            self._receive(message)

    def _receive(self, message: ReceivedPublish) -> None:
        if message.topic == _VERSION_TOPIC.encode():
            if not self._version.done():
                self._version.set_result(message.payload.decode())
            return
        answers = json.loads(message.payload).get("responses", [])
        correlation_id = answers[0].get("correlationData", "") if answers else ""
        waiting = self._waiting.get(correlation_id)
        if waiting is not None and not waiting.done():
            waiting.set_result(answers)

    async def probe(self) -> None:
        """Check that the plugin answers, and set `username_patterns`. Raises PluginUnavailable."""
        try:
            async with asyncio.timeout(_PROBE_TIMEOUT_S):
                await self.send([{"command": "getDefaultACLAccess"}])
        except TimeoutError:
            raise PluginUnavailable from None
        try:
            async with asyncio.timeout(_VERSION_TIMEOUT_S):
                version = await self._version
        except TimeoutError:
            return  # A role per device works with every version; it is only more to store.
        found = re.search(r"(\d+)\.(\d+)", version)
        self.username_patterns = (
            found is not None and tuple(map(int, found.groups())) >= _USERNAME_PATTERNS_SINCE
        )

    async def send(self, commands: Sequence[Command]) -> list[Answer]:
        """Send commands in one request and return their answers in the same order.

        Raises TimeoutError, CommandRefused, MqttError.
        """
        correlation_id = uuid4().hex
        payload = json.dumps(
            {"commands": [c | {"correlationData": correlation_id} for c in commands]}
        )
        answer: asyncio.Future[list[Answer]] = asyncio.get_running_loop().create_future()
        self._waiting[correlation_id] = answer
        try:
            async with asyncio.timeout(_SEND_TIMEOUT_S):
                await self._connection.publish(_TOPIC, payload)
            async with asyncio.timeout(self._answer_timeout_s):
                answers = await answer
        finally:
            del self._waiting[correlation_id]
        if len(answers) != len(commands):
            raise CommandRefused(f"{len(answers)} of {len(commands)} commands were answered")
        return answers

    async def list_accounts(self) -> ListedAccounts:
        """Return all accounts with their marks, and the roles of single devices."""
        accounts = await self._list_all("listClients", "clients", verbose=True)
        roles = await self._list_all("listRoles", "roles", verbose=False)
        return ListedAccounts(
            marks={a["username"]: a.get("textdescription", "") for a in accounts},
            roles={role for role in roles if role.startswith(OWN_ROLE_PREFIX)},
        )

    async def ensure_role(self, name: str, acls: Sequence[Command]) -> None:
        """Create a role with exactly this access list, or change it if it differs.

        An equal role is left alone: the plugin disconnects every client of a role that changes.
        """
        [answer] = await self.send([{"command": "getRole", "rolename": name}])
        if "error" in answer:
            await self._execute({"command": "createRole", "rolename": name, "acls": list(acls)})
        elif _comparable(answer["data"]["role"]["acls"]) != _comparable(acls):
            await self._execute({"command": "modifyRole", "rolename": name, "acls": list(acls)})

    async def _execute(self, command: Command) -> Answer:
        """Execute one command. Raises CommandRefused if the plugin answers with an error."""
        [answer] = await self.send([command])
        if "error" in answer:
            raise CommandRefused(f"{command['command']}: {answer['error']}")
        return answer

    async def _list_all(self, command: str, key: str, *, verbose: bool) -> list[Any]:
        """Read a list page by page.

        Nothing changes between two pages: the hub sends no change meanwhile, and the advisory lock
        keeps other hubs from doing so.
        """
        found: list[Any] = []
        while True:
            page = {
                "command": command, "verbose": verbose, "count": _PAGE_SIZE, "offset": len(found),
            }  # fmt: skip
            data = (await self._execute(page))["data"]
            found += data[key]
            if len(found) >= data["totalCount"] or not data[key]:
                return found


@asynccontextmanager
async def connect_plugin(
    broker: BrokerEndpoint, client_id: str, answer_timeout_s: float
) -> AsyncIterator[DynamicSecurityClient]:
    """Connect to the plugin and check that it answers.

    Raises PluginUnavailable, and MqttError, also when the connection is lost later.
    """
    async with broker.connect(client_id, clean_session=True) as connection:
        try:
            async with asyncio.timeout(_SEND_TIMEOUT_S):
                await connection.subscribe([(_RESPONSE_TOPIC, 1), (_VERSION_TOPIC, 0)])
        except TimeoutError:
            raise MqttError("the broker does not answer") from None
        plugin = DynamicSecurityClient(connection, answer_timeout_s)
        try:
            async with asyncio.TaskGroup() as tasks:
                reading = tasks.create_task(plugin.read())
                await plugin.probe()
                yield plugin
                reading.cancel()
        except BaseExceptionGroup as errors:
            raise root_cause(errors) from None


async def count_accounts(settings: MqttSettings) -> int:
    """Return how many accounts the broker has.

    Raises PluginUnavailable, BrokerUnreachable, CommandRefused, SettingError, TimeoutError.
    """
    broker = BrokerEndpoint.of(settings)
    try:
        async with connect_plugin(broker, f"solarhub-{uuid4().hex}", _PROBE_TIMEOUT_S) as plugin:
            return len((await plugin.list_accounts()).marks)
    except MqttError as error:
        raise BrokerUnreachable(str(error)) from None


def _comparable(acls: Sequence[Command]) -> set[tuple[str, str, bool]]:
    return {(acl["acltype"], acl["topic"], acl["allow"]) for acl in acls}
