"""The vocabulary and the decisions of solarhub.

Pure: no I/O, no clock of its own, no state; imports nothing of ours. Whatever decides about
energy, prices or access is here, so that it can be tested without a database.

Everyone may import core. Refusals are raised as `core.errors.DomainError`.
"""
