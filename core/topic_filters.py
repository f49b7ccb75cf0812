"""What an MQTT topic filter covers (MQTT 3.1.1, section 4.7)."""


def covers(allowed: str, asked: str) -> bool:
    """Whether every topic that `asked` matches, itself a topic or a filter, is one of `allowed`.

    Filters that begin with a wildcard never cover topics that begin with `$`.
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
            # `a/#` is `a` too, which no filter but one with `#` in that place covers.
            return False
    return len(asked_levels) == len(allowed_levels)
