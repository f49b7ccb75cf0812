"""The schema: `schema/` is the first revision, `versions/` has this and all later ones.

`schema/` has a file per noun, `functions/` the current version of each SQL function.
`db.schema.migrate` runs the revisions, then the functions.
"""
