"""Retained messages: the last one of each topic, for later subscribers. Pure; in memory."""

import re
from collections.abc import Iterator
from dataclasses import dataclass

from core.topic_filters import covers


@dataclass(frozen=True, slots=True)
class RetainedMessage:
    topic: str
    payload: bytes
    qos: int
    username: str

    @property
    def size_bytes(self) -> int:
        return len(self.topic) + len(self.payload)


class RetainedMessages:
    """The retained messages of all users, with limits on the topics and bytes of each user."""

    def __init__(self, *, topics_per_user_max: int, bytes_per_user_max: int) -> None:
        self._topics_per_user_max = topics_per_user_max
        self._bytes_per_user_max = bytes_per_user_max
        self._by_topic: dict[str, RetainedMessage] = {}
        self._topics: dict[str, set[str]] = {}
        self._bytes: dict[str, int] = {}

    def keep(self, message: RetainedMessage) -> bool:
        """Replace the retained message of a topic. An empty message only removes it (3.3.1.3).

        Returns False if the user is over a limit: then the topic has no retained message.
        """
        self._remove(message.topic)
        if not message.payload:
            return True
        topics = self._topics.get(message.username, set())
        size_bytes = self._bytes.get(message.username, 0) + message.size_bytes
        if len(topics) >= self._topics_per_user_max or size_bytes > self._bytes_per_user_max:
            return False
        topics.add(message.topic)
        self._topics[message.username] = topics
        self._bytes[message.username] = size_bytes
        self._by_topic[message.topic] = message
        return True

    def matching(self, topic_filter: str) -> Iterator[RetainedMessage]:
        """Yield the retained messages whose topics match a filter."""
        if topic_filter in self._by_topic:
            yield self._by_topic[topic_filter]
        elif "#" in topic_filter or "+" in topic_filter:
            # A cheap comparison of the part before the first wildcard rules out most topics.
            beginning = re.split("/?[#+]", topic_filter, maxsplit=1)[0]
            for topic, message in [*self._by_topic.items()]:
                if topic.startswith(beginning) and covers(topic_filter, topic):
                    yield message

    @property
    def usernames(self) -> set[str]:
        """The users with retained messages."""
        return set(self._topics)

    def forget(self, username: str) -> None:
        """Remove a user's retained messages."""
        for topic in [*self._topics.get(username, ())]:
            self._remove(topic)

    def _remove(self, topic: str) -> None:
        old = self._by_topic.pop(topic, None)
        if old is None:
            return
        topics = self._topics[old.username]
        topics.discard(topic)
        self._bytes[old.username] -= old.size_bytes
        if not topics:
            del self._topics[old.username], self._bytes[old.username]
