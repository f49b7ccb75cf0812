"""The schema: `schema/` is the first revision, `versions/` has this and all later ones.

`schema/` has a file per noun and a file per SQL function. `db.schema.migrate` runs the revisions.
"""
