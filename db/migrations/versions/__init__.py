"""Revisions of the schema, in the order of their numbers.

`0100` makes the first released schema out of the files under `schema/`. Later revisions are
additive: each changes the schema that its predecessor left, with SQL in a file of its own beside
it, and no released file changes any more. Functions are apart from this: `db.migrations.functions`
has one version of each. `tests/db/test_upgrades.py` upgrades a filled database of every revision to
the newest.
"""
