"""What a deployment may say to our programs: their command lines and environment names."""

from __future__ import annotations

import importlib
from collections.abc import Sequence
from pathlib import Path

import typer
from pydantic import BaseModel
from pydantic_settings import BaseSettings

from anygpt import topology
from anygpt.cli import app
from anygpt.settings import ServiceSettings

ROOT = Path(__file__).parents[2]
UsageError = typer.BadParameter.__bases__[0]


def parse_command(arguments: Sequence[str]) -> str:
    """Parses a command line of `anygpt` without running it; returns the command's name.

    Raises UsageError for a command, option or value that does not exist.
    """
    group = typer.main.get_group(app)
    context = group.make_context("anygpt", list(arguments))
    name, command, rest = group.resolve_command(context, list(arguments))
    assert command is not None
    command.make_context(name, rest, parent=context)
    return str(name)


def environment_names(service: str) -> set[str]:
    """The environment names that a service's settings know."""
    known = settings_of(service)
    return {"ANYGPT_SECRETS"} | {
        f"{settings.model_config.get('env_prefix', '')}{name}".upper()
        for settings in known
        for name in _names(settings)
    }


def settings_of(service: str) -> list[type[BaseSettings]]:
    """The settings classes of a service: those of its own module, or the ones that all share."""
    if service not in topology.SERVICES:
        return [ServiceSettings]
    module = importlib.import_module(f"services.{service}.settings")
    classes = [value for value in vars(module).values() if isinstance(value, type)]
    return [value for value in classes if issubclass(value, BaseSettings) and value is not BaseSettings]


def _names(model: type[BaseModel]) -> set[str]:
    names = set()
    for name, field in model.model_fields.items():
        names.add(name)
        inner = field.annotation
        if isinstance(inner, type) and issubclass(inner, BaseModel):
            names |= {f"{name}__{deeper}" for deeper in _names(inner)}
    return names
