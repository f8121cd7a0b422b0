"""Recipe of the audio codec: principal components of mels, then two books of 4,096 entries by k-means."""

from __future__ import annotations

import torch
from rich.progress import track
from torch import Tensor

from anygpt_models.audio_codec import PER_STEP, AudioCodec, levelled, nearest, patches
from anygpt_models.spectrogram import log_mel
from services.trainer.data.audio import clips
from services.trainer.recipe import Recipe

PART = "audio_codec"
ROUNDS = 10
LEVELS = 8
"""A code is read as four digits of eight levels; see `in_order`."""


def run_codec(recipe: Recipe) -> None:
    """Count the books of all clips that are not held out; a minute, and the same books each time."""
    torch.manual_seed(0)
    model = recipe.build(AudioCodec, PART)
    points = patches(levelled(clip_mels(recipe, held_out=False))).flatten(0, 1)
    model.mean.copy_(points.mean(0))
    *_, basis = torch.pca_lowrank(points - model.mean, model.setting("components"), center=False, niter=3)
    model.basis.copy_(basis)
    left = (points - model.mean) @ basis
    for index in range(PER_STEP):
        book = in_order(k_means(left, model.setting("codes")))
        model.books[index].copy_(book)
        left = left - book[nearest(left, book)]
    recipe.keep(model, PART)
    judge(recipe)


def judge(recipe: Recipe) -> dict[str, float]:
    """Mean distance of log mels after a round trip through the codes, on clips that were trained on and others."""
    model, found = recipe.part(AudioCodec, PART), {}
    for name, held_out in (("trained", False), ("held out", True)):
        mel = clip_mels(recipe, held_out)[::4]
        found[name] = float((model.decode(model.encode_mel(mel)) - levelled(mel)).abs().mean())
    print(*(f"{name}: {value:.3f} nepers" for name, value in found.items()), sep="\n")
    return found


def clip_mels(recipe: Recipe, held_out: bool) -> Tensor:
    """Log mels [N, 80, 320] of the clips that are held out, or of the others."""
    data = clips(recipe.cache)
    waves = torch.as_tensor(data.waveforms(data.rows(held_out)))
    return torch.cat([log_mel(some) for some in waves.split(64)])


def k_means(points: Tensor, count: int) -> Tensor:
    """Centres [count, D] of points [N, D]; a centre that nobody is near to starts again at a random point."""
    # Fewer points than centres: some stand at one point.
    centres = points[torch.randperm(max(count, len(points)))[:count] % len(points)].clone()
    for _ in track(range(ROUNDS), description="k-means"):
        owner = nearest(points, centres)
        size = torch.bincount(owner, minlength=count)[:, None]
        mean = torch.zeros_like(centres).index_add_(0, owner, points) / size.clamp(min=1)
        centres = torch.where(size > 0, mean, points[torch.randint(len(points), (count,))])
    return centres


def in_order(book: Tensor) -> Tensor:
    """The entries sorted by their first component into eight parts, each of these by the second, and so on.

    So the digits of a code, most significant first, are levels along the strongest components: codes that differ
    in a digit only sound alike, which is what a model that predicts digit by digit needs.
    """
    order = torch.arange(len(book))
    size, axis = len(book), 0
    while size > 1:
        groups = order.view(-1, size)
        order = groups.gather(1, book[groups, axis].argsort(dim=1, stable=True)).flatten()
        size, axis = size // LEVELS, axis + 1
    return book[order]
