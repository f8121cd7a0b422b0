"""The stages that train the image parts of a pack."""

from __future__ import annotations

from services.trainer.denoisers import run_denoiser, run_steady
from services.trainer.image_codec import run_codec, run_decoder, run_tokens
from services.trainer.image_recogniser import run_recogniser

STAGES = {
    "codec": run_codec,
    "tokens": run_tokens,
    "decoder": run_decoder,
    "recogniser": run_recogniser,
    "denoiser": run_denoiser,
    "steady": run_steady,
}
"""In this order; the denoiser also needs the motion codec of the video stages."""
