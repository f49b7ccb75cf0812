"""The API held to its own documentation, by Schemathesis."""
