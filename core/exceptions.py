"""Exception groups, as asyncio's TaskGroup raises them."""


def root_cause(error: BaseException) -> BaseException:
    """Return the first failure inside nested exception groups; the others follow from it."""
    while isinstance(error, BaseExceptionGroup):
        error = error.exceptions[0]
    return error
