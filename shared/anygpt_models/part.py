"""The base of every trained part of a pack: it knows its configuration, and is kept as safetensors."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any, Self, TypeVar, cast

import torch
from diffusers.configuration_utils import ConfigMixin, register_to_config
from diffusers.models.modeling_utils import ModelMixin

Init = TypeVar("Init", bound=Callable[..., None])


class Part(ModelMixin, ConfigMixin):  # type: ignore[misc]  # both name their file
    """A diffusers model with `save_pretrained` and `from_pretrained`, so that pipelines and packs take it."""

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]

    @classmethod
    def open(cls, folder: Path) -> Self:
        """A trained part for use: weights as they were kept, computed in single precision, without gradients."""
        part: Self = cls.from_pretrained(folder, torch_dtype=torch.float32, local_files_only=True)
        return part.requires_grad_(False).eval()

    def setting(self, name: str) -> Any:
        """One argument of the constructor, as `config.json` keeps it."""
        return self.config[name]


def configured(init: Init) -> Init:
    """Decorate a constructor so that its arguments become the part's configuration."""
    return cast(Init, register_to_config(init))
