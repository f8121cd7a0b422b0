"""The schedulers that a request may choose where a pack draws with a published pipeline."""

from __future__ import annotations

import copy
from collections.abc import Mapping
from typing import Any, Final

SCHEDULERS: Final[Mapping[str, str]] = {
    "ddim": "DDIMScheduler",
    "dpm": "DPMSolverMultistepScheduler",
    "euler": "EulerDiscreteScheduler",
    "unipc": "UniPCMultistepScheduler",
}
"""Their classes in diffusers."""


def alone(pipeline: Any, name: str) -> Any:
    """The same models for one drawing; the pipeline's own scheduler where none is named.

    A scheduler counts its steps and a pipeline remembers its guidance, so drawings that take turns cannot share them.
    """
    import diffusers

    own = copy.copy(pipeline)
    if name:
        own.scheduler = getattr(diffusers, SCHEDULERS[name]).from_config(pipeline.scheduler.config)
    else:
        own.scheduler = copy.deepcopy(pipeline.scheduler)
    return own
