"""Coverage of MQTT topic filters (MQTT 3.1.1, section 4.7)."""


def covers(allowed: str, asked: str) -> bool:
    """Return True if `allowed` matches every topic that `asked`, a topic or a filter, matches.

    A filter that begins with a wildcard never covers a topic that begins with `$`.
    """
    if asked.startswith("$") and allowed[:1] in ("#", "+"):
        return False
    allowed_levels, asked_levels = allowed.split("/"), asked.split("/")
    for n, level in enumerate(allowed_levels):
        if level == "#":
            return True
        if n == len(asked_levels):
            return False
        if asked_levels[n] == "#" or level not in ("+", asked_levels[n]):
            # `a/#` matches `a` too, and only a filter with `#` at this level covers both.
            return False
    return len(asked_levels) == len(allowed_levels)
