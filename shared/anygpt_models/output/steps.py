"""Post-processing as typed steps in a fixed order, each of which reports what it changed."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from anygpt.topology import Modality
from anygpt.v1 import types_pb2
from anygpt_models.output.media import Media


class Step(Protocol):
    """One step of post-processing."""

    def apply(self, media: Media) -> tuple[Media, types_pb2.StepReport]:
        """The changed media, and what changed."""
        ...


def plan(modality: Modality, options: types_pb2.OutputOptions) -> list[Step]:
    """The steps that the options ask for, in their fixed order. Raises InvalidInput with field `output.<name>`."""
    return []


def apply(steps: Sequence[Step], media: Media) -> tuple[Media, list[types_pb2.StepReport]]:
    """Run the steps in order."""
    reports = []
    for step in steps:
        media, report = step.apply(media)
        reports.append(report)
    return media, reports
