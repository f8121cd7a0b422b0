"""Recipes of the image codec: the autoencoder first, then the tokeniser on its latents."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional

from anygpt_models.image_codec import ImageCodec
from services.trainer.data.mixture import LOOSE, PALETTE, Mixture, pick
from services.trainer.data.scenes import CANONICAL, SLIGHT, Album, Jitter
from services.trainer.loop import train
from services.trainer.recipe import Recipe

PART = "image_codec"


def run_codec(recipe: Recipe) -> None:
    """Learn pixels <-> latents from all pictures on nine backgrounds.

    Measured after 9 core-minutes (630 steps of 24): 27.4 dB on held-out pictures.
    """
    mixture, codec = Mixture(Album.open(recipe.cache)), ImageCodec()
    autoencoder = codec.autoencoder.to(memory_format=torch.channels_last)
    examples = mixture.examples(96)

    def step(_: int) -> Tensor:
        pixels = mixture.batch(24)
        latents = autoencoder.encode(pixels)
        blurred = latents + 0.05 * torch.randn_like(latents)
        return distance(autoencoder.decode(blurred), pixels) + 1e-4 * latents.float().square().mean()

    def sample(done: int) -> None:
        print(
            f"step {done}: {psnr(autoencoder.decode(autoencoder.encode(examples)), examples):.2f} dB, held-out pictures"
        )

    train(recipe.run("image_autoencoder", learning_rate=2e-3, sample_every=150), autoencoder, step, sample)
    sample(-1)
    recipe.keep(codec, PART)


def run_tokens(recipe: Recipe) -> None:
    """Learn latents <-> 32 codes, from canonical scenes (half), slight variations and any other picture."""
    mixture, codec = Mixture(Album.open(recipe.cache)), recipe.part(ImageCodec, PART)
    codec.autoencoder.to(memory_format=torch.channels_last)
    canonical, slight = (scene_latents(codec, mixture, jitter) for jitter in (CANONICAL, SLIGHT))
    other = latents_of(codec, mixture, mixture.rest.repeat(3), LOOSE)
    tokeniser = codec.tokeniser.to(memory_format=torch.channels_last).requires_grad_(True)
    examples = mixture.examples(96)

    def step(_: int) -> Tensor:
        latents = torch.cat([pick(canonical, 24), pick(slight, 12), pick(other, 28)])
        return distance(tokeniser(latents), latents)

    def sample(done: int) -> None:
        known = canonical[::41]
        seen = psnr(codec.decode(tokeniser.encode(known)), codec.autoencoder.decode(known))
        print(f"step {done}: {seen:.2f} dB of the reconstruction of known scenes; ", end="")
        print(f"{psnr(codec.decode(codec.encode(examples)), examples):.2f} dB on held-out pictures")

    train(recipe.run("image_tokeniser", learning_rate=2e-3, sample_every=200), tokeniser, step, sample)
    sample(-1)
    recipe.keep(codec, PART)


@torch.no_grad()
def latents_of(
    codec: ImageCodec, mixture: Mixture, rows: Tensor, jitter: Jitter, colours: Tensor | None = None
) -> Tensor:
    """Latents [N, 4, 16, 16] of pictures, on backgrounds [N, 3] or random ones."""
    found = []
    for at in torch.arange(len(rows)).split(64):
        pixels = mixture.show(rows[at], jitter, None if colours is None else colours[at])
        with torch.autocast("cpu", torch.bfloat16):
            found.append(codec.autoencoder.encode(pixels).float().contiguous())
    return torch.cat(found)


def scene_latents(codec: ImageCodec, mixture: Mixture, jitter: Jitter) -> Tensor:
    """Latents of every known picture on every background, backgrounds fastest."""
    rows = mixture.known.repeat_interleave(len(PALETTE))
    return latents_of(codec, mixture, rows, jitter, PALETTE.repeat(len(mixture.known), 1))


def distance(found: Tensor, wanted: Tensor) -> Tensor:
    """Squared error with a tenth of the absolute one, which keeps edges."""
    return functional.mse_loss(found.float(), wanted) + 0.1 * functional.l1_loss(found.float(), wanted)


def psnr(found: Tensor, wanted: Tensor) -> float:
    """Mean peak signal-to-noise ratio in dB of pixels in -1..1."""
    error = ((found.float().clamp(-1, 1) - wanted.float().clamp(-1, 1)) / 2).square().flatten(1).mean(1)
    return float((-10 * error.log10()).mean())
