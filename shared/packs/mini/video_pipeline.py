from __future__ import annotations

from anygpt_models.video_pipeline import VideoPipeline

__all__ = ["VideoPipeline"]
