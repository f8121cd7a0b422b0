"""The base of every trained part of a pack: it knows its configuration, and is kept as safetensors.

Folders look as diffusers writes them, but diffusers is not imported here: it takes seconds, and most parts are
never a component of a pipeline. Those that are have `ModelMixin` as their second base.
"""

from __future__ import annotations

import functools
import inspect
import json
from collections.abc import Callable, Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Any, Self, TypeVar, cast

import torch
from safetensors.torch import save_file
from torch import nn

from anygpt.errors import Precondition
from anygpt.pack import read_object
from anygpt.whole import write_whole, written_whole
from anygpt_models.eight_bits import unpacked

CONFIG = "config.json"
WEIGHTS = "diffusion_pytorch_model.safetensors"
"""The file name that diffusers gives to weights."""
CLASS = "_class_name"
UNFIT = (ArithmeticError, AssertionError, AttributeError, LookupError, RuntimeError, TypeError, ValueError)
"""What a constructor raises for settings that are not its own."""

Init = TypeVar("Init", bound=Callable[..., None])


class Part(nn.Module):
    """A model with `save_pretrained` and `from_pretrained`, so that pipelines and packs take it."""

    _arguments: Mapping[str, Any]

    def __init__(self) -> None:  # typed, which that of diffusers is not
        super().__init__()

    @classmethod
    def open(cls, folder: Path) -> Self:
        """A trained part for use: weights as they were kept, computed in single precision, without gradients."""
        return cls.from_pretrained(folder).requires_grad_(False)

    @classmethod
    def from_config(cls, folder: str | Path) -> Self:
        """A part with the settings of a folder and new weights.

        Raises Precondition when there are none, or not those of this class.
        """
        facts = read_config(folder)
        if not facts:
            message = f"there is no {cls.__name__} in {Path(folder).name!r}"
            raise Precondition(message, reason="PACK_PART_MISSING", field=Path(folder).name)
        settings = {name: value for name, value in facts.items() if not name.startswith("_")}
        try:
            return cls(**settings)
        except UNFIT as error:
            raise _mismatch(cls, folder, CONFIG) from error

    @classmethod
    def from_pretrained(
        cls,
        folder: str | Path,
        torch_dtype: torch.dtype | None = torch.float32,
        *,
        subfolder: str | None = None,
        variant: str | None = None,
        **_options: Any,
    ) -> Self:
        """A part as it was kept, its weights packed into 8 bits or not, ready for inference.

        Raises Precondition when the settings or the weights are not of this class, ValueError for a variant.
        """
        folder = _place(folder, subfolder, variant)
        part = cls.from_config(folder)
        try:
            part.load_state_dict(unpacked(folder / WEIGHTS))
        except RuntimeError as error:
            raise _mismatch(cls, folder, WEIGHTS) from error
        nn.Module.to(part, torch_dtype or torch.float32)
        return part.eval()

    def save_pretrained(
        self, folder: str | Path, *, subfolder: str | None = None, variant: str | None = None, **_options: Any
    ) -> None:
        """Write the weights as they are, then `config.json`, into a folder, made where it is not there.

        Each is written whole, and neither takes its place before both are; a kill between them leaves no settings
        that are of other weights. Raises ValueError for a variant.
        """
        folder = _place(folder, subfolder, variant)
        folder.mkdir(parents=True, exist_ok=True)
        config, text = folder / CONFIG, _written({CLASS: type(self).__name__, **self.config})
        with written_whole(config) as new_config, written_whole(folder / WEIGHTS) as new_weights:
            new_config.write_text(text, encoding="utf-8")
            weights = {name: tensor.contiguous() for name, tensor in self.state_dict().items()}
            save_file(weights, new_weights, metadata={"format": "pt"})
            if config.is_file() and config.read_bytes() != text.encode():
                config.unlink()

    @property
    def config(self) -> Mapping[str, Any]:
        """The arguments of the constructor, defaults included, by name."""
        return MappingProxyType(self._arguments)

    def setting(self, name: str) -> Any:
        """One argument of the constructor, as `config.json` keeps it."""
        return self._arguments[name]


def configured(init: Init) -> Init:
    """Decorate a constructor so that its arguments become the part's configuration."""
    signature = inspect.signature(init)

    @functools.wraps(init)
    def keeping(self: Part, *arguments: Any, **named: Any) -> None:
        bound = signature.bind(self, *arguments, **named)
        bound.apply_defaults()
        init(self, *arguments, **named)
        self._arguments = dict(list(bound.arguments.items())[1:])

    return cast(Init, keeping)


def is_kept(folder: Path) -> bool:
    """Whether a folder has a part that was written to its end: weights, and after them settings."""
    return (folder / WEIGHTS).is_file() and (folder / CONFIG).is_file()


def read_config(folder: str | Path) -> dict[str, Any]:
    """What `config.json` of a part says; empty where there is none. Raises Precondition when it is no object."""
    path = Path(folder) / CONFIG
    return read_object(path) if path.is_file() else {}


def write_config(folder: Path, facts: Mapping[str, Any]) -> None:
    """What `read_config` reads."""
    write_whole(folder / CONFIG, _written(facts))


def _written(facts: Mapping[str, Any]) -> str:
    return json.dumps(facts, indent=2, sort_keys=True) + "\n"


def _place(folder: str | Path, subfolder: str | None, variant: str | None) -> Path:
    """The folder of a part, as diffusers names it."""
    if variant is not None:
        raise ValueError(f"a part has no variants, {variant!r} was asked for")
    return Path(folder) / (subfolder or "")


def _mismatch(kind: type[Part], folder: str | Path, file: str) -> Precondition:
    part = Path(folder).name
    return Precondition(f"{part}/{file} is not of {kind.__name__}", reason="PACK_PART_MISMATCH", field=part)
