"""What keeps a command from doing its work."""


class HubError(Exception):
    """The message is one line for a person, and says what to do."""
