"""Recipes of the image codec: the autoencoder first, then the tokeniser on its latents."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional

from anygpt_models.image_codec import ImageCodec
from anygpt_models.image_tokeniser import ImageTokeniser
from services.trainer.data.mixture import LOOSE, PALETTE, Mixture, pick
from services.trainer.data.scenes import CANONICAL, SLIGHT, Album, Jitter
from services.trainer.loop import train
from services.trainer.recipe import Recipe, channels_last

PART = "image_codec"


def run_codec(recipe: Recipe) -> None:
    """Learn pixels <-> latents from all pictures on nine backgrounds.

    Measured after 9 core-minutes (630 steps of 24): 27.4 dB on held-out pictures.
    """
    mixture, codec = Mixture(Album.open(recipe.cache)), ImageCodec()
    autoencoder = channels_last(codec.autoencoder)
    examples = mixture.examples(96)

    def step(_: int) -> Tensor:
        pixels = mixture.batch(24)
        latents = autoencoder.encode(pixels)
        blurred = latents + 0.05 * torch.randn_like(latents)
        return distance(autoencoder.decode(blurred), pixels) + 1e-4 * latents.float().square().mean()

    def sample(done: int) -> None:
        found = autoencoder.decode(autoencoder.encode(examples))
        print(f"step {done}: {psnr(found, examples):.2f} dB on held-out pictures")

    train(recipe.run("image_autoencoder", learning_rate=2e-3, sample_every=150), autoencoder, step, sample)
    sample(-1)
    recipe.keep(codec, PART)


def run_tokens(recipe: Recipe) -> None:
    """Learn latents <-> 32 codes, from canonical scenes (half), slight variations and any other picture."""
    mixture, codec = Mixture(Album.open(recipe.cache)), recipe.part(ImageCodec, PART)
    channels_last(codec.autoencoder)
    canonical, slight = (scene_latents(codec, mixture, jitter) for jitter in (CANONICAL, SLIGHT))
    other = latents_of(codec, mixture, mixture.rest.repeat(3), LOOSE)
    tokeniser = channels_last(codec.tokeniser).requires_grad_(True)
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


def run_decoder(recipe: Recipe) -> None:
    """Learn codes -> latents further while the codes stay as they are, so that what was trained on them stays valid.

    One digit in thirty is wrong in training: the decoder leans towards what the world contains.
    """
    mixture, codec = Mixture(Album.open(recipe.cache)), recipe.part(ImageCodec, PART)
    channels_last(codec)
    known = torch.cat([scene_latents(codec, mixture, jitter) for jitter in (CANONICAL, CANONICAL, SLIGHT)])
    other = latents_of(codec, mixture, mixture.rest, LOOSE)
    vectors = [analysed(codec.tokeniser, latents) for latents in (known, other)]
    tokeniser, examples = decoder_only(codec.tokeniser), mixture.examples(96)

    def step(_: int) -> Tensor:
        rows = torch.randint(len(known), (48,)), torch.randint(len(other), (16,))
        values = torch.cat([some[at] for some, at in zip(vectors, rows, strict=True)])
        wrong = torch.rand(values.shape) < 1 / 30
        values = torch.where(wrong, torch.randint(8, values.shape) / 3.5 - 1, values)
        return distance(tokeniser.synthesise(values), torch.cat([known[rows[0]], other[rows[1]]]))

    def sample(done: int) -> None:
        seen = psnr(codec.decode(tokeniser.encode(known[::71])), codec.autoencoder.decode(known[::71]))
        held = psnr(codec.decode(codec.encode(examples)), examples)
        print(
            f"step {done}: {seen:.2f} dB of the reconstruction of known scenes; {held:.2f} dB, held-out pictures"
        )

    train(recipe.run("image_decoder", learning_rate=1.5e-3, sample_every=200), tokeniser, step, sample)
    sample(-1)
    recipe.keep(codec, PART)


def run_polish(recipe: Recipe) -> None:
    """Learn codes -> pixels end to end on known scenes (three quarters) and any others; the codes stay as they are."""
    mixture, codec = Mixture(Album.open(recipe.cache)), recipe.part(ImageCodec, PART)
    channels_last(codec)
    decoder_only(codec.tokeniser)
    codec.autoencoder.decoder.requires_grad_(True)

    def step(_: int) -> Tensor:
        pixels = torch.cat([mixture.show(pick(mixture.known, 24), CANONICAL), mixture.batch(8)])
        values = codec.tokeniser.quantiser.lookup(codec.encode(pixels))
        return distance(codec.autoencoder.decode(codec.tokeniser.synthesise(values)), pixels)

    train(recipe.run("image_polish", learning_rate=5e-4), codec, step)
    recipe.keep(codec, PART)


def decoder_only(tokeniser: ImageTokeniser) -> ImageTokeniser:
    """The tokeniser with nothing trainable before the codes."""
    tokeniser.requires_grad_(True)
    for part in (tokeniser.down, tokeniser.mix_in, tokeniser.to_levels):
        part.requires_grad_(False)
    tokeniser.places_in.requires_grad_(False)
    return tokeniser


@torch.no_grad()
def analysed(tokeniser: ImageTokeniser, latents: Tensor) -> Tensor:
    """The grid values [N, 32, D] of latents."""
    return torch.cat([tokeniser.quantiser.lookup(tokeniser.encode(some)) for some in latents.split(128)])


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
