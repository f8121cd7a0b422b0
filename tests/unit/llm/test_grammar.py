"""Every answer obeys the grammar, whatever the model would say."""

from __future__ import annotations

import dataclasses
from itertools import pairwise
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from anygpt.errors import Precondition
from anygpt.pack import ANNOUNCEMENT, OutputEntry, Pack, SamplingEntry, open_pack
from anygpt.topology import AUDIO, IMAGE, MODALITY_NAMES, SPEECH, TEXT, VIDEO, Modality
from anygpt.vocabulary import BracketsBlock, SignalsBlock, Vocabulary, VocabularyLayout
from services.llm.grammar import Grammar, Rules, read_rules
from services.llm.stage import LlmStage
from services.llm.tokeniser import Tokeniser
from tests.tiny_pack import TEXT_SIZE, TinyPack, build_tiny_pack
from tests.unit.llm.asking import TRUNCATED, Reply, ask, opened, request

MODALITIES = (TEXT, IMAGE, VIDEO, SPEECH, AUDIO)
FEWEST = {TEXT: 1, IMAGE: 4, VIDEO: 24, SPEECH: 4, AUDIO: 8}
CYCLE = 4


@pytest.fixture(scope="module")
def rules(pack: Path) -> Rules:
    opened_pack = open_pack(str(pack))
    return read_rules(opened_pack, Tokeniser(pack / "tokenizer" / "tokenizer.json", TEXT_SIZE))


@pytest.fixture(scope="module")
def announcing(pack: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The pack, taught to announce."""
    folder = tmp_path_factory.mktemp("announcing")
    (folder / "cache").symlink_to(pack.parent / "cache")
    return build_tiny_pack(folder / "pack", TinyPack(announced=True))


@st.composite
def terms(draw: st.DrawFn) -> tuple[list[Modality], dict[Modality, int], int]:
    """What is wanted, the budgets, and the room, such that what is wanted fits."""
    want = draw(st.lists(st.sampled_from(MODALITIES), unique=True))
    budgets = {m: draw(st.integers(FEWEST[m] if m in want else 0, 60)) for m in MODALITIES}
    least = sum(FEWEST[m] + 2 for m in want) + 1
    return want, budgets, draw(st.integers(least, least + 80))


def spans_of(rules: Rules, ids: list[int]) -> list[tuple[Modality, list[int]]]:
    """Take an answer apart by its brackets alone. Fails on a malformed one."""
    spans: list[tuple[Modality, list[int]]] = []
    place = 0
    while place < len(ids):
        begins = {rules.vocabulary.brackets[m].begin: m for m in MODALITIES if m != TEXT}
        modality = begins.get(ids[place])
        if modality is None:
            assert any(ids[place] in part for part in rules.text)
            if not spans or spans[-1][0] != TEXT:
                spans.append((TEXT, []))
            spans[-1][1].append(ids[place])
        else:
            end = ids.index(rules.vocabulary.brackets[modality].end, place)
            spans.append((modality, ids[place + 1 : end]))
            place = end
        place += 1
    return spans


def check_span(rules: Rules, modality: Modality, ids: list[int]) -> None:
    """The counts and ranges of one span."""
    if modality in (IMAGE, VIDEO):
        assert ids == list(rules.vocabulary.signals[modality].ids)
    elif modality != TEXT:
        codes = rules.vocabulary.codes[modality]
        assert FEWEST[modality] <= len(ids) <= rules.outputs[modality].max_count
        assert len(ids) % codes.cycle == 0
        assert all(token in codes.band(index) for index, token in enumerate(ids))


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(terms=terms(), random=st.randoms(use_true_random=False))
def test_any_walk_through_the_grammar_is_a_well_formed_answer(rules: Rules, terms, random) -> None:  # type: ignore[no-untyped-def]  # noqa: ANN001
    want, budgets, room = terms
    grammar = Grammar(rules, want, budgets, room)
    ids: list[int] = []
    while not grammar.is_done:
        part = random.choice(grammar.choice().ranges)
        token = grammar.resolve(random.choice(part))
        assert token in grammar.choice()
        grammar.advance(token)
        if token not in rules.stops:
            ids.append(token)
    spans = spans_of(rules, ids)
    made = {modality for modality, _ in spans}
    assert len(ids) <= room
    assert not want or made == set(want)
    for modality, tokens in spans:
        check_span(rules, modality, tokens)
    for modality in MODALITIES:
        assert sum(len(tokens) for one, tokens in spans if one == modality) <= budgets[modality]


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(terms=terms(), random=st.randoms(use_true_random=False))
def test_announcements_stand_before_wanted_spans_alone_and_are_short(rules: Rules, terms, random) -> None:  # type: ignore[no-untyped-def]  # noqa: ANN001
    want, budgets, room = terms
    taught = {
        m: entry.model_copy(update={"announced": m in (IMAGE, VIDEO)}) for m, entry in rules.outputs.items()
    }
    grammar = Grammar(dataclasses.replace(rules, outputs=taught), want, budgets, room)
    ids: list[int] = []
    while not grammar.is_done:
        token = grammar.resolve(random.choice(random.choice(grammar.choice().ranges)))
        assert token in grammar.choice()
        grammar.advance(token)
        ids += [token] if token not in rules.stops else []
    spans = spans_of(rules, ids)
    assert len(ids) <= room
    assert not want or {modality for modality, _ in spans} - {TEXT} == set(want) - {TEXT}
    if want and TEXT not in want:
        for (modality, tokens), (following, _) in pairwise([*spans, (TEXT, [])]):
            assert modality != TEXT or (len(tokens) <= ANNOUNCEMENT and following in (IMAGE, VIDEO))


@settings(max_examples=12, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(want=st.lists(st.sampled_from(MODALITIES), unique=True), seed=st.integers(0, 2**64 - 1))
async def test_an_answer_has_what_is_wanted_and_nothing_else(
    stage: LlmStage, rules: Rules, want: list[Modality], seed: int
) -> None:
    names = [MODALITY_NAMES[modality] for modality in want]
    hot = {name: {"temperature": 2.0} for name in MODALITY_NAMES.values()}
    reply = await ask(stage, request("hello", want=names, seed=seed, sampling=hot))
    made = {span.modality for span in reply.spans}
    assert not want or made == set(want)
    for modality, tokens in spans_of(rules, reply.ids):
        check_span(rules, modality, tokens)


async def test_a_span_that_runs_out_of_tokens_is_closed_and_truncated(stage: LlmStage, rules: Rules) -> None:
    reply = await ask(stage, request(want=["audio"], sampling={"audio": {"max_tokens": 13}}))
    (span,) = reply.spans
    assert len(span.ids) == 12 + 2
    assert span.ids[-1] == rules.vocabulary.brackets[AUDIO].end
    assert span.truncated
    assert reply.reason == TRUNCATED


async def test_an_announcement_is_written_before_a_wanted_picture_and_not_heard(
    announcing: Path, rules: Rules
) -> None:
    async with opened(announcing) as stage:
        reply = await ask(stage, request("hello", want=["image"], seed=4))
        heard = await ask(stage, request("hello", want=["text", "image"], seed=4))
        other = await ask(stage, request("hello", want=["audio"], seed=4))
    (span,) = reply.spans
    assert (span.modality, reply.text, reply.chunks) == (IMAGE, "", [])
    begin = rules.vocabulary.brackets[IMAGE].begin
    announced = span.ids[: span.ids.index(begin)]
    assert 0 < len(announced) <= ANNOUNCEMENT
    assert span.ids[len(announced) + 1 : -1] == list(rules.vocabulary.signals[IMAGE].ids)
    assert reply.usage.generated_tokens == len(span.ids)
    assert heard.text
    assert other.spans[0].ids[0] == rules.vocabulary.brackets[AUDIO].begin


async def test_what_was_announced_is_part_of_what_an_attempt_goes_on_from(announcing: Path) -> None:
    asked = {"want": ["image", "video"], "seed": 5}
    async with opened(announcing, deterministic=True) as stage:
        undisturbed = await ask(stage, request("hello", **asked))
        first = len(undisturbed.spans[0].ids)
        for kept in (1, first - 1, first, first + 1):
            again = await ask(stage, request("hello", forced_ids=undisturbed.ids[:kept], **asked))
            assert again.ids == undisturbed.ids
            assert again.signals == undisturbed.signals


async def test_the_context_bounds_the_answer_and_keeps_room_for_what_is_wanted(pack: Path) -> None:
    async with opened(pack) as stage:
        prompt = "猫" * 150
        reply = await ask(
            stage, request(prompt, want=["text", "video"], sampling={"text": {"max_tokens": 5000}})
        )
    assert {span.modality for span in reply.spans} == {TEXT, VIDEO}
    assert reply.usage.prompt_tokens + reply.usage.generated_tokens <= 512


async def test_codes_of_a_streaming_modality_come_in_pieces(stage: LlmStage) -> None:
    reply: Reply = await ask(stage, request(want=["audio"], seed=3))
    (span,) = reply.spans
    assert [len(piece) for piece in span.codes][:2] == [8, 16][: len(span.codes)]
    assert sum(map(len, span.codes)) == len(span.ids) - 2


def test_a_pack_whose_outputs_can_not_be_told_apart_is_refused(pack: Path) -> None:
    """The opening bracket alone says which modality comes."""
    tiny = open_pack(str(pack))
    blocks = tuple(
        block.model_copy(
            update={"modalities": ("speech", "audio")} if isinstance(block, BracketsBlock) else {}
        )
        for block in tiny.manifest.vocabulary.blocks
    )
    layout = tiny.manifest.vocabulary.model_copy(update={"blocks": blocks})
    shared = Pack(tiny.folder, tiny.manifest.model_copy(update={"vocabulary": layout}), "")
    with pytest.raises(Precondition, match="share"):
        read_rules(shared, Tokeniser(pack / "tokenizer" / "tokenizer.json", TEXT_SIZE))


def test_spans_without_brackets_of_their_own_are_their_signals_alone() -> None:
    """NExT-GPT has one pair of brackets, around all that comes in."""
    vocabulary = Vocabulary(
        VocabularyLayout(
            text_size=10,
            blocks=(
                BracketsBlock(modalities=("image", "video"), begin="<Img>", end="</Img>"),
                SignalsBlock(modality="image", count=3, token="[IMG{}]"),
                SignalsBlock(modality="video", count=2, token="[VID{}]"),
            ),
        )
    )
    signals = OutputEntry(path="signals", sampling=SamplingEntry(max_tokens=8))
    outputs = {IMAGE: signals, VIDEO: signals}
    rules = Rules(vocabulary, outputs, (range(10),), (0,), frozenset(outputs))
    grammar = Grammar(rules, [VIDEO, IMAGE], dict.fromkeys(outputs, 8), room=5)
    taken = []
    while not grammar.is_done:
        token = grammar.resolve(min(ids.start for ids in grammar.choice().ranges))
        taken.append(token)
        grammar.advance(token)
    assert taken == [12, 13, 14, 15, 16]
    assert grammar.is_complete


async def test_music_cycles_through_four_consecutive_bands(stage: LlmStage, rules: Rules) -> None:
    """AnyGPT's music: layer after layer of the codec, each in its own quarter of the codes."""
    first = rules.vocabulary.codes[AUDIO].first
    hot = {"audio": {"temperature": 2.0}}
    for seed in range(4):
        for span in (await ask(stage, request(want=["audio"], seed=seed, sampling=hot))).spans:
            codes = [token - first for token in span.ids[1:-1]]
            assert len(codes) >= 8
            assert [code // 16 for code in codes] == [0, 1, 2, 3] * (len(codes) // 4)
            assert [code for piece in span.codes for code in piece] == codes
