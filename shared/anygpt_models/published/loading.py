"""Opening folders that diffusers and transformers saved: never from a hub, never a pickle."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from torch import nn

from anygpt.errors import Precondition
from anygpt.pack import PICKLES, read_object


def class_of(folder: Path) -> str:
    """The class that a saved folder names: a pipeline's, a model's, or a part's of ours; empty where there is none.

    Raises Precondition when its file is malformed.
    """
    for file in ("model_index.json", "config.json"):
        path = folder / file
        if path.is_file():
            match read_object(path):
                case {"_class_name": str(name)} | {"architectures": [str(name), *_]}:
                    return name
            return ""
    return ""


def refuse_pickles(folder: Path) -> None:
    """Raise Precondition for a folder with weights whose reading can run code, or a link that could lead to some."""
    for path in sorted(folder.rglob("*")):
        if path.is_symlink() or path.suffix in PICKLES:
            kind = "link" if path.is_symlink() else "pickle"
            raise Precondition(
                f"{folder.name} holds a {kind}, {path.name}: weights are safetensors", reason="PACK_PICKLE",
                field=folder.name,
            )  # fmt: skip


def open_pipeline(folder: Path, kind: str, device: torch.device) -> Any:
    """A pipeline of diffusers by the name of its class, quiet, on a device. Raises Precondition for another class."""
    import diffusers

    _check(folder, kind)
    pipeline = getattr(diffusers, kind).from_pretrained(folder, local_files_only=True, use_safetensors=True)
    pipeline.set_progress_bar_config(disable=True)
    return pipeline.to(device)


def open_model(folder: Path, kind: str, device: torch.device) -> Any:
    """A model of transformers by the name of its class, for inference. Raises Precondition for another class."""
    import transformers

    _check(folder, kind)
    model = getattr(transformers, kind).from_pretrained(folder, local_files_only=True, use_safetensors=True)
    nn.Module.to(model, device)
    return model.requires_grad_(False).eval()


def _check(folder: Path, kind: str) -> None:
    refuse_pickles(folder)
    found = class_of(folder)
    if found != kind:
        raise Precondition(
            f"{folder.name} should be a {kind}, is {found or 'nothing'}", reason="PACK_PART_MISMATCH",
            field=folder.name,
        )  # fmt: skip
