"""Alembic revisions, each of which runs the .sql files beside it."""
