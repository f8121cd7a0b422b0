"""The two clients are one: the same names, the same arguments."""

from __future__ import annotations

import inspect

from anygpt.client import AsyncClient, Client


def surface(client: type[object]) -> dict[str, list[str]]:
    """Public methods, each with its parameters and their types."""
    methods = inspect.getmembers(client, inspect.isfunction)
    return {
        name: [str(each) for each in inspect.signature(method).parameters.values()]
        for name, method in methods
        if not name.startswith("_")
    }


def test_what_the_asynchronous_client_can_the_plain_one_can() -> None:
    assert surface(Client) == surface(AsyncClient)
    assert len(surface(Client)) > 15
