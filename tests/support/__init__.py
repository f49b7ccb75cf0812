"""Helpers that tests share: servers, data, clients, and waiting for conditions."""
