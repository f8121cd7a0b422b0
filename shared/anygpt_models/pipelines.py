"""The pack's own pipelines, and the file by which diffusers knows them."""

from __future__ import annotations

import json
from pathlib import Path

import diffusers

from anygpt_models.audio_pipeline import AudioPipeline
from anygpt_models.code_pipeline import CodePipeline
from anygpt_models.image_pipeline import ImagePipeline
from anygpt_models.video_pipeline import VideoPipeline

MODEL_INDEX = "model_index.json"
PIPELINES: tuple[type[CodePipeline], ...] = (ImagePipeline, VideoPipeline, AudioPipeline)


def write_model_index(folder: Path) -> None:
    """Say in `model_index.json` which class each component has: one file for all pipelines, each takes its own."""
    kinds = {name: kind for pipeline in PIPELINES for name, kind in pipeline.components_by_name().items()}
    index = {
        "_class_name": ImagePipeline.__name__,
        "_diffusers_version": diffusers.__version__,
        **{name: [kind.__module__, kind.__name__] for name, kind in sorted(kinds.items())},
    }
    (folder / MODEL_INDEX).write_text(json.dumps(index, indent=2) + "\n", encoding="utf-8")
