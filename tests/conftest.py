"""Fixtures that every floor of the tests shares."""

from __future__ import annotations

pytest_plugins = ["tests.servers.fixtures"]
