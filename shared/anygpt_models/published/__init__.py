"""Parts that others published: diffusers' pipelines and transformers' encoders and codecs behind our own calls."""

from __future__ import annotations
