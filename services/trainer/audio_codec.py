"""Recipes of the audio codec: what is played, whoever plays it; then who plays, and how that sounds."""

from __future__ import annotations

import torch
from rich.progress import track
from torch import Tensor, nn
from torch.nn import functional

from anygpt_models.audio_codec import (
    PER_STEP,
    STRIDE,
    TIMBRE,
    AudioCodec,
    levelled,
    nearest,
    patches,
)
from anygpt_models.spectrogram import log_mel
from services.trainer.audio_playing import KEYS, PLAYERS, Playing, by_parts
from services.trainer.data.audio import clips
from services.trainer.data.spread import spread
from services.trainer.loop import train
from services.trainer.recipe import Recipe
from services.trainer.sheet import Cell, Sheet, before

PART = "audio_codec"
ROUNDS = 10
SHOWN = 12
"""Clips of a sheet."""
LEVELS = 8
"""A code is read as four digits of eight levels; see `in_order`."""
BATCH, CROP = 16, 32 * STRIDE
"""Clips of a step, and how many frames of each."""
STRETCH = 0.4
"""Octaves of tempo by which clips are played faster or slower, at most."""
NOISE, NAMING, FLUTTER = 0.1, 0.2, 2.0
"""Noise on contents in nepers; weights of who is known, and of how much bands flutter."""
LAGS = (1, 2, 5, 10)
"""Frames after which a change counts as flutter."""
FAINT = -4.5
"""Log mel amplitude below which little is heard: 48 dB under the loudest band."""


def run_content(recipe: Recipe) -> None:
    """Learn to hear what is played, then count the books of it."""
    playing, model = Playing.everything(recipe.cache, KEYS), recipe.build(AudioCodec, PART)

    def step(_: int) -> Tensor:
        chosen, key = playing.any_clips(recipe.many(BATCH)), int(torch.randint(len(KEYS), ()))
        mel, wanted = stretched(playing.mels[key, chosen], playing.contents[key, playing.rows[chosen]])
        return unlike(model.content(mel + 0.05 * torch.randn_like(mel)), wanted)

    def sample() -> Sheet:
        rows = spread([*range(len(playing.index))], SHOWN)
        known, heard = playing.contents[0, playing.rows[rows]], by_parts(model.content, playing.mels[0, rows])
        told = f"contents {float((known - heard).abs().mean()):.3f} nepers off"
        return Sheet(told, [Cell(before(*pair)) for pair in zip(known, heard, strict=True)], columns=2)

    train(recipe.run("audio_content", learning_rate=2e-3), model.content, step, sample)
    pieces = Playing.pieces(recipe.cache)
    count_books(model, torch.cat([pieces.contents[0], by_parts(model.content, pieces.mels[0])]))
    recipe.keep(model, PART)


def run_timbre(recipe: Recipe) -> None:
    """Learn who plays from one clip, and how that sounds by another, in which the same player plays something else.

    Contents are as the codec hears them, or as the mean of those who play them.
    """
    playing, model = Playing.everything(recipe.cache, KEYS), recipe.part(AudioCodec, PART)
    heard = torch.stack([by_parts(model.content, mels) for mels in playing.mels])
    model.timbre.requires_grad_(True)
    model.decoder.requires_grad_(True)
    learned = nn.ModuleList([model.timbre, model.decoder, nn.Linear(TIMBRE, len(PLAYERS))])

    def step(_: int) -> Tensor:
        chosen, key = playing.any_clips(recipe.many(BATCH)), int(torch.randint(len(KEYS), ()))
        who, half = playing.players[chosen], len(chosen) // 2
        numbers = model.timbre(playing.mels[KEYS.index(0), playing.another(who)])
        known = playing.contents[key, playing.rows[chosen]]
        content = torch.cat([known[:half], heard[key, chosen[half:]]])
        content, wanted = stretched(content, playing.mels[key, chosen])
        content = content + NOISE * torch.randn_like(content)
        made = model.decoder(content, model.timbre.rounded(numbers), int(torch.randint(1000, ())))
        naming = functional.cross_entropy(learned[2](numbers).float(), who)
        return unlike(made, wanted) + NAMING * naming

    def sample() -> Sheet:
        data = clips(recipe.cache)
        rows = spread(data.kept(), SHOWN)
        mel = log_mel(torch.as_tensor(data.waveforms(rows)))
        pairs = zip(levelled(mel), model.decode(model.encode_mel(mel)), rows, strict=True)
        cells = [Cell(before(wanted, found), data.index[row].caption) for wanted, found, row in pairs]
        return Sheet("held-out pieces before and after their codes", cells, columns=2)

    train(recipe.run("audio_timbre", learning_rate=2e-3, warmup=100), learned, step, sample)
    recipe.keep(model, PART)
    judge(recipe)


def stretched(*mels: Tensor) -> list[Tensor]:
    """The same frames of mels [B, 80, 320] at one random speed, each [B, 80, 160]; pitches stay."""
    length = int(CROP * 2 ** float(torch.empty(()).uniform_(-STRETCH, STRETCH)))
    start = int(torch.randint(mels[0].shape[-1] - length + 1, ()))
    cut = [mel[..., start : start + length] for mel in mels]
    return [functional.interpolate(mel, CROP, mode="linear", align_corners=False) for mel in cut]


def unlike(found: Tensor, wanted: Tensor) -> Tensor:
    """Distance of log mels [B, 80, T] in nepers, large errors more; what is hardly heard counts little.

    How much each band flutters is compared apart: what is only right on average is smooth, as no violin is.
    """
    found, wanted = _heard(found.float()), _heard(wanted)
    apart = functional.l1_loss(found, wanted) + 0.3 * functional.mse_loss(found, wanted)
    return apart + FLUTTER * functional.l1_loss(_flutter(found), _flutter(wanted))


def _heard(mel: Tensor) -> Tensor:
    return functional.softplus(mel - FAINT) + FAINT


def _flutter(mel: Tensor) -> Tensor:
    """How much each band changes within each of some times, [B, 80, lags]."""
    return torch.stack([(mel[..., lag:] - mel[..., :-lag]).abs().mean(-1) for lag in LAGS], dim=-1)


@torch.no_grad()
def judge(recipe: Recipe) -> dict[str, float]:
    """Mean distance of log mels after a round trip through the codes: trained on, held-out recordings, and pieces."""
    model, data, found = recipe.part(AudioCodec, PART), clips(recipe.cache), {}
    rows = {
        "trained": data.trained()[::4],
        "recordings": data.rows(held_out=True),
        "pieces": data.kept()[::4],
    }
    for name, some in rows.items():
        mel = log_mel(torch.as_tensor(data.waveforms(some)))
        found[name] = float((model.decode(model.encode_mel(mel)) - levelled(mel)).abs().mean())
    print(*(f"{name}: {value:.3f} nepers" for name, value in found.items()), sep="\n")
    return found


@torch.no_grad()
def count_books(model: AudioCodec, contents: Tensor) -> None:
    """Principal components and books of contents [N, 80, 320]; the same books each time."""
    torch.manual_seed(0)
    points = patches(contents).flatten(0, 1)
    model.mean.copy_(points.mean(0))
    *_, basis = torch.pca_lowrank(points - model.mean, model.setting("components"), center=False, niter=3)
    model.basis.copy_(basis)
    left = (points - model.mean) @ basis
    for index in range(PER_STEP):
        book = in_order(k_means(left, model.setting("codes")))
        model.books[index].copy_(book)
        left = left - book[nearest(left, book)]


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
