"""Drawing: any values in range give an id of the choice, the same for a seed, as often as the logits say."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from transformers import (
    LogitsProcessorList,
    MinPLogitsWarper,
    RepetitionPenaltyLogitsProcessor,
    TemperatureLogitsWarper,
    TopKLogitsWarper,
    TopPLogitsWarper,
)

from anygpt_models.serving.sampling import RANGES
from services.llm.model.sampler import Sampler, uniform
from services.llm.step import Choice, Draw

SIZE = 600
PLAIN = Draw(Choice((range(SIZE),)), 1.0, 1.0, 0, 0.0, 1.0, 0, 0)
SAMPLER = Sampler(torch.device("cpu"))


def single(least: float, most: float) -> st.SearchStrategy[float]:
    """Numbers as they travel, the smallest too."""
    return st.floats(least, most, width=32, allow_nan=False)


DRAWS = st.builds(
    Draw,
    choice=st.sampled_from([Choice((range(SIZE),)), Choice((range(3, 9), range(400, 590))), Choice((range(5, 6),))]),
    temperature=single(*RANGES["temperature"]),
    top_p=single(2**-149, 1),
    top_k=st.integers(0, 2**31 - 1) | st.integers(0, 8),
    min_p=single(*RANGES["min_p"]),
    repetition_penalty=single(*RANGES["repetition_penalty"]),
    seed=st.integers(0, 2**64 - 1),
    position=st.integers(0, 4096),
    seen=st.lists(st.integers(0, SIZE - 1), max_size=5),
)  # fmt: skip


def some_logits(seed: int, size: float) -> torch.Tensor:
    """Random logits of a size."""
    return torch.randn(SIZE, generator=torch.Generator().manual_seed(seed)) * size


@settings(max_examples=400, deadline=None)
@given(draw=DRAWS, seed=st.integers(0, 5), size=st.sampled_from([0.0, 1.0, 30.0, 1e6]))
def test_values_in_range_give_an_id_of_the_choice_always_the_same(draw: Draw, seed: int, size: float) -> None:
    logits = some_logits(seed, size)
    token = SAMPLER.draw(logits, draw)
    assert token is not None
    assert token in draw.choice
    assert SAMPLER.draw(logits.clone(), draw) == token


@settings(max_examples=200, deadline=None)
@given(
    draw=DRAWS.filter(lambda one: one.temperature > 0.05),
    seed=st.integers(0, 5),
    size=st.sampled_from([1.0, 4.0]),
)
def test_what_is_drawn_is_among_what_transformers_would_keep(draw: Draw, seed: int, size: float) -> None:
    logits = some_logits(seed, size)
    everything = replace(draw, choice=PLAIN.choice)
    kept = reference(logits, everything)
    # A candidate at the very edge of the nucleus falls to one side or the other by the order of its sums.
    edge = reference(logits, replace(everything, top_p=min(1.0, everything.top_p + 1e-5)))
    assert SAMPLER.draw(logits, everything) in set(kept) | set(edge)


def reference(logits: torch.Tensor, draw: Draw) -> list[int]:
    """The ids that transformers' own processors leave."""
    steps: Any = LogitsProcessorList([RepetitionPenaltyLogitsProcessor(draw.repetition_penalty)])
    steps.append(TemperatureLogitsWarper(draw.temperature))
    if draw.top_k:
        steps.append(TopKLogitsWarper(min(draw.top_k, SIZE)))
    if draw.top_p < 1:
        steps.append(TopPLogitsWarper(draw.top_p))
    steps.append(MinPLogitsWarper(draw.min_p))
    seen = torch.tensor([list(draw.seen)], dtype=torch.long)
    scores = steps(seen, logits[None].clone())[0]
    return [int(token) for token in torch.nonzero(scores > -torch.inf)[:, 0]]


@pytest.mark.parametrize(
    "draw",
    [PLAIN, replace(PLAIN, top_p=0.7), replace(PLAIN, top_k=9), replace(PLAIN, min_p=0.2, temperature=0.6)],
)
def test_ids_come_as_often_as_their_probability_says(draw: Draw) -> None:
    logits = some_logits(1, 3.0)
    count = 3000
    drawn = Counter(SAMPLER.draw(logits, replace(draw, seed=seed)) for seed in range(count))
    kept = reference(logits, draw)
    expected = (logits[kept] / draw.temperature).softmax(0)
    for token, share in zip(kept, expected.tolist(), strict=True):
        assert abs(drawn[token] / count - share) < 4 * (share * (1 - share) / count) ** 0.5 + 0.002


@pytest.mark.parametrize("bad", [float("nan"), float("inf")])
def test_numbers_that_are_not_finite_draw_nothing(bad: float) -> None:
    logits = some_logits(1, 1.0)
    logits[7] = bad
    assert SAMPLER.draw(logits, PLAIN) is None
    assert SAMPLER.draw(logits, replace(PLAIN, temperature=0.0)) is None
    assert SAMPLER.draw(logits, replace(PLAIN, choice=Choice((range(8, 20),)))) is not None


@pytest.mark.parametrize("temperature", [1e-45, 1e-40, 1e-7])
def test_a_temperature_without_an_inverse_draws_the_likeliest(temperature: float) -> None:
    logits = some_logits(1, 1.0)
    for draw in (PLAIN, replace(PLAIN, top_p=0.8), replace(PLAIN, top_k=5)):
        assert SAMPLER.draw(logits, replace(draw, temperature=temperature)) == SAMPLER.draw(
            logits, replace(draw, temperature=0.0)
        )


def test_randomness_is_spread_evenly_over_seeds_and_positions() -> None:
    for numbers in ([uniform(seed, 0) for seed in range(2000)], [uniform(0, place) for place in range(2000)]):
        assert min(numbers) >= 0
        assert max(numbers) < 1
        assert abs(sum(numbers) / len(numbers) - 0.5) < 0.03
        assert len(set(numbers)) == len(numbers)
