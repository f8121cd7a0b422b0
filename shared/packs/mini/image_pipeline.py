from __future__ import annotations

from anygpt_models.image_pipeline import ImagePipeline

__all__ = ["ImagePipeline"]
