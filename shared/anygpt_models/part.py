"""The base of every trained part of a pack: it knows its configuration, and is kept as safetensors."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any, Self, TypeVar, cast

import torch
from diffusers.configuration_utils import ConfigMixin, register_to_config
from diffusers.models.modeling_utils import ModelMixin
from torch import nn

from anygpt.errors import Precondition
from anygpt_models.eight_bits import unpacked

WEIGHTS = "diffusion_pytorch_model.safetensors"
"""The file name that `save_pretrained` gives to weights."""

Init = TypeVar("Init", bound=Callable[..., None])


class Part(ModelMixin, ConfigMixin):  # type: ignore[misc]  # both name their file
    """A diffusers model with `save_pretrained` and `from_pretrained`, so that pipelines and packs take it."""

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]

    @classmethod
    def open(cls, folder: Path) -> Self:
        """A trained part for use: weights as they were kept, computed in single precision, without gradients."""
        return cls.from_pretrained(folder).requires_grad_(False)

    @classmethod
    def from_pretrained(  # type: ignore[override]  # a part is a folder of a pack, never a name on a hub
        cls, folder: str | Path, torch_dtype: torch.dtype = torch.float32, **_options: Any
    ) -> Self:
        """A part as it was kept, its weights packed into 8 bits or not, ready for inference.

        Raises Precondition when the weights are not of this class.
        """
        part = cast(Self, cls.from_config(cast(dict[str, Any], cls.load_config(str(folder)))))
        try:
            part.load_state_dict(unpacked(Path(folder) / WEIGHTS))
        except RuntimeError as error:
            raise Precondition(
                f"the weights are not of {cls.__name__}", reason="PACK_PART_MISMATCH", field=Path(folder).name
            ) from error
        nn.Module.to(part, torch_dtype)
        return part.eval()

    def setting(self, name: str) -> Any:
        """One argument of the constructor, as `config.json` keeps it."""
        return self.config[name]


def configured(init: Init) -> Init:
    """Decorate a constructor so that its arguments become the part's configuration."""
    return cast(Init, register_to_config(init))
