from __future__ import annotations

from anygpt_models.audio_pipeline import AudioPipeline

__all__ = ["AudioPipeline"]
