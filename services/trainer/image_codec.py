"""Recipes of the image codec: autoencoder, then tokeniser on its latents, then the decoders for frozen codes."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional

from anygpt_models.image_autoencoder import over
from anygpt_models.image_codec import ImageCodec
from anygpt_models.image_tokeniser import ImageTokeniser
from services.trainer.data.mixture import LOOSE, Mixture, any_backdrops, canonical_backdrop, pick
from services.trainer.data.scenes import CANONICAL, SLIGHT, Album, Jitter
from services.trainer.data.world import COLOURS
from services.trainer.device import mixed_precision
from services.trainer.loop import train
from services.trainer.recipe import Recipe, channels_last
from services.trainer.sheet import Cell, Sample, Sheet, above

PART = "image_codec"
TOKENS = {"backdrops": len(COLOURS), "others": 3}
"""How often each known picture is seen, and any other one."""


def run_codec(recipe: Recipe) -> None:
    """Learn pixels -> latents -> layers from all pictures on nine backdrops.

    Measured with colours alone, without cover: 27.4 dB on held-out pictures after 630 steps of 24.
    """
    mixture, codec = Mixture(Album.open(recipe.cache)), recipe.build(ImageCodec, PART)
    autoencoder = channels_last(codec.autoencoder)
    examples, count = mixture.before(mixture.held_out[:96], canonical_backdrop()), recipe.many(24)

    def step(_: int) -> Tensor:
        layers, (before, after) = mixture.batch(count), (any_backdrops(count), any_backdrops(count))
        latents = autoencoder.encode(over(layers, before))
        found = autoencoder.decode(latents + 0.05 * torch.randn_like(latents))
        return unlike(found, layers, after) + 1e-4 * latents.float().square().mean()

    def sample() -> Sheet:
        found = over(
            autoencoder.decode(autoencoder.encode(examples)), canonical_backdrop().expand(len(examples), 3)
        )
        told = f"{psnr(found, examples):.2f} dB on held-out pictures"
        return Sheet(told, compared(examples[:24], found), columns=12)

    train(recipe.run("image_autoencoder", learning_rate=2e-3, sample_every=150), autoencoder, step, sample)
    recipe.keep(codec, PART)


def run_tokens(recipe: Recipe) -> None:
    """Learn latents <-> codes, from canonical scenes (half), slight variations and any other picture.

    Measured with all 32 codes for the picture: 26.0 dB of the autoencoder's own reconstruction of known pictures,
    24.2 dB of held-out ones, after 660 steps of 64.
    """
    mixture, codec = Mixture(Album.open(recipe.cache)), recipe.part(ImageCodec, PART)
    channels_last(codec.autoencoder)
    amounts = recipe.amount(TOKENS)
    known, rest = mixture.known.repeat(amounts["backdrops"]), mixture.rest.repeat(amounts["others"])
    canonical, slight = (latents_of(codec, mixture, known, jitter) for jitter in (CANONICAL, SLIGHT))
    other = latents_of(codec, mixture, rest, LOOSE)
    tokeniser = channels_last(codec.tokeniser).requires_grad_(True)
    count = [recipe.many(part) for part in (24, 12, 28)]

    def step(_: int) -> Tensor:
        latents = torch.cat([pick(canonical, count[0]), pick(slight, count[1]), pick(other, count[2])])
        return distance(tokeniser(latents), latents)

    train(recipe.run("image_tokeniser", learning_rate=2e-3), tokeniser, step, quality(codec, mixture))
    recipe.keep(codec, PART)


def run_decoder(recipe: Recipe) -> None:
    """Learn codes -> layers end to end, mostly of canonical things; the codes stay as they are.

    One digit in forty is wrong in training: the decoder leans towards what the world contains.
    Measured after 650 steps of 28: 24.5 dB on known pictures, 21.8 dB on held-out ones.
    """
    mixture, codec = Mixture(Album.open(recipe.cache)), recipe.part(ImageCodec, PART)
    channels_last(codec)
    sets = [Pairs.of(codec, mixture, mixture.known, CANONICAL, canonical_backdrop())]
    sets += [
        Pairs.of(codec, mixture, mixture.known, SLIGHT),
        Pairs.of(codec, mixture, mixture.rest[::3], LOOSE),
    ]
    decoder_only(codec.tokeniser)
    count = [recipe.many(part) for part in (20, 4, 4)]
    codec.autoencoder.decoder.requires_grad_(True)

    def step(_: int) -> Tensor:
        drawn = [pairs.draw(count) for pairs, count in zip(sets, count, strict=True)]
        values, layers = (torch.cat(part) for part in zip(*drawn, strict=True))
        wrong = torch.rand(values.shape) < 1 / 40
        values = torch.where(wrong, torch.randint(8, values.shape) / 3.5 - 1, values)
        return unlike(codec.layers(values), layers, any_backdrops(len(values)))

    train(
        recipe.run("image_decoder", learning_rate=1.5e-3, sample_every=100),
        codec,
        step,
        quality(codec, mixture),
    )
    recipe.keep(codec, PART)


class Pairs:
    """Grid values of pictures, and the layers that they should decode to, as bytes."""

    def __init__(self, values: Tensor, layers: Tensor) -> None:
        self.values = values
        self.layers = layers

    @classmethod
    @torch.no_grad()
    def of(
        cls, codec: ImageCodec, mixture: Mixture, rows: Tensor, jitter: Jitter, backdrop: Tensor | None = None
    ) -> Pairs:
        """Encode rows before one backdrop or any."""
        values, kept = [], []
        for some in rows.split(64):
            layers = mixture.layers(some, jitter)
            backdrops = any_backdrops(len(some)) if backdrop is None else backdrop.expand(len(some), 3)
            values.append(codec.tokeniser.quantiser.lookup(codec.told(over(layers, backdrops))))
            kept.append(torch.cat([(layers[:, :3] + 1) * 127.5, layers[:, 3:] * 255], dim=1).round().byte())
        return cls(torch.cat(values), torch.cat(kept))

    def draw(self, count: int) -> tuple[Tensor, Tensor]:
        """Random values and layers."""
        rows = torch.randint(len(self.values), (count,))
        layers = self.layers[rows].float() / 255
        return self.values[rows], torch.cat([layers[:, :3] * 2 - 1, layers[:, 3:]], dim=1)


def decoder_only(tokeniser: ImageTokeniser) -> None:
    """Nothing stays trainable before the codes."""
    tokeniser.requires_grad_(True)
    for part in (tokeniser.down, tokeniser.mix_in, tokeniser.to_levels):
        part.requires_grad_(False)
    tokeniser.places_in.requires_grad_(False)


def quality(codec: ImageCodec, mixture: Mixture) -> Sample:
    """How well known and held-out pictures survive their codes."""
    known, examples = (
        mixture.before(rows, canonical_backdrop()) for rows in (mixture.known[::6], mixture.held_out[:64])
    )

    def sample() -> Sheet:
        seen, held = (codec.decode(codec.encode(pixels)) for pixels in (known, examples))
        told = f"{psnr(seen, known):.2f} dB on known pictures, {psnr(held, examples):.2f} dB on held-out ones"
        return Sheet(told, [*compared(known[:24], seen), *compared(examples[:12], held)], columns=12)

    return sample


def compared(wanted: Tensor, found: Tensor) -> list[Cell]:
    """Pictures above what became of them."""
    return [Cell(above(*pair)) for pair in zip(wanted, found, strict=False)]


@torch.no_grad()
def latents_of(codec: ImageCodec, mixture: Mixture, rows: Tensor, jitter: Jitter) -> Tensor:
    """Latents [N, 4, 16, 16] of pictures on random backdrops."""
    found = []
    for some in rows.split(64):
        with mixed_precision():
            found.append(codec.autoencoder.encode(mixture.show(some, jitter)).float().contiguous())
    return torch.cat(found)


def canonical_codes(codec: ImageCodec, mixture: Mixture) -> Tensor:
    """Codes [pictures, 32] of the known pictures before the canonical backdrop."""
    rows = mixture.known.split(64)
    return torch.cat([codec.encode(mixture.before(some, canonical_backdrop())) for some in rows])


def unlike(found: Tensor, layers: Tensor, backdrops: Tensor) -> Tensor:
    """How far layers are from the true ones: before a backdrop that the encoder did not see, and in what they cover."""
    cover = functional.mse_loss(found[:, 3].float(), layers[:, 3])
    return distance(over(found.float(), backdrops), over(layers, backdrops)) + 0.3 * cover


def distance(found: Tensor, wanted: Tensor) -> Tensor:
    """Squared error with a tenth of the absolute one, which keeps edges."""
    return functional.mse_loss(found.float(), wanted) + 0.1 * functional.l1_loss(found.float(), wanted)


def psnr(found: Tensor, wanted: Tensor) -> float:
    """Mean peak signal-to-noise ratio in dB of pixels in -1..1."""
    error = ((found.float().clamp(-1, 1) - wanted.float().clamp(-1, 1)) / 2).square().flatten(1).mean(1)
    return float((-10 * error.detach().log10()).mean())
