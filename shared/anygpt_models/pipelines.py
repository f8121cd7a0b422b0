"""The pack's own pipelines, and the files by which diffusers knows them."""

from __future__ import annotations

import json
from pathlib import Path

import diffusers

from anygpt.whole import write_whole
from anygpt_models.audio_pipeline import AudioPipeline
from anygpt_models.code_pipeline import MODEL_INDEX, CodePipeline
from anygpt_models.image_pipeline import ImagePipeline
from anygpt_models.video_pipeline import VideoPipeline

PIPELINES: tuple[type[CodePipeline], ...] = (ImagePipeline, VideoPipeline, AudioPipeline)


def write_model_index(folder: Path) -> None:
    """Say in `model_index.json` which class each component has, and beside it where each pipeline is.

    One index is for all pipelines, each takes its own; DiffusionPipeline, which takes one, takes that of pictures.
    """
    kinds = {name: kind for pipeline in PIPELINES for name, kind in pipeline.components_by_name().items()}
    index = {
        "_class_name": [ImagePipeline.module_name(), ImagePipeline.__name__],
        "_diffusers_version": diffusers.__version__,
        **{name: [kind.__module__, kind.__name__] for name, kind in sorted(kinds.items())},
    }
    for name, text in openers().items():
        write_whole(folder / name, text)
    write_whole(folder / MODEL_INDEX, json.dumps(index, indent=2) + "\n")


def openers() -> dict[str, str]:
    """The Python of a pack: by file, what tells diffusers which class of this package a pipeline is."""
    return {f"{kind.module_name()}.py": kind.opener() for kind in PIPELINES}
