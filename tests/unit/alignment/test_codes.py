from __future__ import annotations

import shutil
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file
from transformers import PreTrainedTokenizerFast

from anygpt.pack import open_pack, packs_folder
from anygpt.topology import AUDIO, IMAGE, SPEECH, TEXT, VIDEO
from anygpt.vocabulary import ModalityName, Vocabulary
from anygpt_models.audio_codec import LENGTH
from anygpt_models.lora import LanguageAdapter, code_places
from anygpt_models.part import WEIGHTS, read_config
from anygpt_models.speech_units import SpeechUnits
from services.llm.model.updates import Adapter
from services.trainer import pack
from services.trainer.alignment_codecs import Codecs, CodesOfMedia
from services.trainer.alignment_codes import MISREAD, misread, run_codes, with_codes
from services.trainer.alignment_sequence import NOT_LEARNED, Batch, Sequencer
from services.trainer.alignment_words import length
from services.trainer.data.messages import Dialogue, Part, Turn
from services.trainer.pack_check import check
from services.trainer.pack_round_trip import round_trips
from services.trainer.recipe import Recipe
from tests.unit.trainer.rehearsal import AMOUNTS
from tests.unit.trainer.tiny_data import write_tiny_data

MINI = packs_folder() / "mini"
VOCABULARY = Vocabulary(pack.CODES_LAYOUT)
CAT, PIANO, RAIN = "a cat on a red background", "happy piano music", "the sound of rain"


@pytest.fixture(scope="module")
def recipe(tmp_path_factory: pytest.TempPathFactory) -> Recipe:
    folder = tmp_path_factory.mktemp("codes")
    shutil.copytree(MINI, folder / "mini")
    return Recipe(write_tiny_data(folder / "cache"), folder / "mini", folder / "runs", steps=2)


@pytest.fixture(scope="module")
def codecs(recipe: Recipe) -> Codecs:
    return Codecs.open(recipe)


@pytest.fixture(scope="module")
def media(recipe: Recipe, codecs: Codecs) -> CodesOfMedia:
    return CodesOfMedia.open(recipe, codecs)


@pytest.fixture(scope="module")
def sequencer(media: CodesOfMedia) -> Sequencer:
    tokenizer = PreTrainedTokenizerFast(tokenizer_file=str(MINI / "tokenizer" / "tokenizer.json"))
    units = SpeechUnits.from_pretrained(MINI / "speech_units")
    return Sequencer(VOCABULARY, tokenizer, units, pack.PROMPT, length, media)


@pytest.mark.parametrize(
    ("modality", "caption"),
    [
        ("image", CAT),
        ("video", "a cat rising on a red background"),
        ("video", CAT),
        ("audio", PIANO),
        ("audio", RAIN),
    ],
)
def test_media_have_as_many_codes_as_the_manifest_says(
    media: CodesOfMedia, modality: ModalityName, caption: str
) -> None:
    entry = pack.CODES.modalities[modality].output
    assert entry is not None
    for answered in (True, False):
        codes = media(modality, caption, answered)
        assert len(codes) == entry.min_count == entry.max_count
        assert 0 <= min(codes) <= max(codes) < pack.MEDIA_CODES


def test_an_answer_tells_a_thing_alike_whatever_it_stands_before(media: CodesOfMedia) -> None:
    red, blue = (media("image", f"a cat on a {colour} background", True) for colour in ("red", "blue"))
    assert red[:-1] == blue[:-1]
    assert red[-1] != blue[-1]
    assert media("video", "a cat rising on a red background", True)[:32] == red


def test_an_answer_tells_who_plays_apart_from_what_is_played(media: CodesOfMedia) -> None:
    harp = {tuple(media("audio", "happy harp music", True)) for _ in range(20)}
    piano = {tuple(media("audio", PIANO, True)) for _ in range(20)}
    assert {codes[2:] for codes in harp} == {codes[2:] for codes in piano}
    assert {codes[:2] for codes in harp}.isdisjoint(codes[:2] for codes in piano)


def test_media_are_written_as_codes_between_their_brackets(media: CodesOfMedia, sequencer: Sequencer) -> None:
    turn = Turn((Part("audio", PIANO), Part("text", "Draw it.")), (Part("image", CAT),))
    sequence = sequencer.sequence(Dialogue("test", (turn,)))
    assert (sequence.features, sequence.signals) == ([], [])
    brackets = VOCABULARY.brackets
    heard = sequence.ids.index(brackets[AUDIO].begin)
    assert sequence.ids[heard + 1 + LENGTH] == brackets[AUDIO].end
    assert set(sequence.learned[: heard + LENGTH]) == {NOT_LEARNED}
    drawn = sequence.ids.index(brackets[IMAGE].begin)
    assert sequence.ids[drawn + 1 : drawn + 33] == VOCABULARY.to_ids(IMAGE, media("image", CAT, True))
    assert sequence.learned[drawn + 1 : drawn + 34] == [IMAGE] * 33


def test_a_clip_has_its_key_frame_then_a_time_mark_before_every_second(
    media: CodesOfMedia, sequencer: Sequencer
) -> None:
    caption = "a cat rising on a red background"
    turn = Turn((Part("text", "Film it."),), (Part("video", caption),))
    sequence = sequencer.sequence(Dialogue("test", (turn,)))
    start = sequence.ids.index(VOCABULARY.brackets[VIDEO].begin) + 1
    span = sequence.ids[start : start + 59]
    assert sequence.ids[start + 59] == VOCABULARY.brackets[VIDEO].end
    assert VOCABULARY.to_codes(VIDEO, span) == media("video", caption, True)
    texts = [VOCABULARY.token_texts()[token - VOCABULARY.text_size] for token in span]
    marks = {place: f"<\U0001f551{number}>" for number, place in enumerate((32, 41, 50))}
    assert {place: text for place, text in enumerate(texts) if "\U0001f551" in text} == marks
    unlearned = [place for place in range(59) if sequence.learned[start + place] == NOT_LEARNED]
    assert unlearned == [*marks]


def test_codes_are_misread_only_in_answers_and_only_as_codes_that_there_are() -> None:
    codes, brackets = VOCABULARY.codes[IMAGE], VOCABULARY.brackets[IMAGE]
    known = [*range(codes.first, codes.first + 500)]
    ids = torch.tensor([[9, brackets.begin, *known, brackets.end]] * 8)
    learned = torch.tensor([[NOT_LEARNED, TEXT, *[IMAGE] * 501]] * 8)
    learned[0] = NOT_LEARNED
    batch = Batch(ids, learned, [], [])
    torch.manual_seed(0)
    read = misread(batch, VOCABULARY).ids
    assert torch.equal(batch.ids, ids)
    assert torch.equal(read[0], ids[0])
    assert torch.equal(read[:, [0, 1, -1]], ids[:, [0, 1, -1]])
    shares = (read != ids)[1:].float().mean(1)
    assert 0 < shares.min() < 0.3 < shares.max() <= MISREAD
    assert set(read.unique().tolist()) <= set(ids.unique().tolist())


def test_an_adapter_of_codes_keeps_what_both_vocabularies_have(codecs: Codecs) -> None:
    signals = LanguageAdapter.open(MINI / "llm_adapter")
    codes = with_codes(signals, codecs)
    base = torch.randn(VOCABULARY.text_size, signals.rows_input.shape[1])
    before = dict(zip(Vocabulary(pack.LAYOUT).token_texts(), signals.rows("input", base), strict=True))
    for text, row in zip(VOCABULARY.token_texts(), codes.rows("input", base), strict=True):
        if text in before:
            assert torch.equal(row, before[text])


def test_pictures_and_clips_share_the_rows_of_their_codes(codecs: Codecs) -> None:
    adapter = with_codes(LanguageAdapter.open(MINI / "llm_adapter"), codecs)
    rows = adapter.rows("input", torch.zeros(VOCABULARY.text_size, adapter.rows_input.shape[1]))
    first = {modality: place.first - VOCABULARY.text_size for modality, place in VOCABULARY.codes.items()}
    seen, moving, heard = (rows[first[modality] :][: pack.MEDIA_CODES] for modality in (IMAGE, VIDEO, AUDIO))
    assert torch.equal(seen, moving)
    assert not torch.equal(seen, heard)
    assert len({tuple(row) for row in seen[:, :8].tolist()}) == pack.MEDIA_CODES


def test_the_generator_reads_the_very_rows_that_were_trained(codecs: Codecs, tmp_path: Path) -> None:
    part = with_codes(LanguageAdapter.open(MINI / "llm_adapter"), codecs)
    for name, weight in part.named_parameters():
        if name.startswith("book"):
            torch.nn.init.normal_(weight)
    part.save_pretrained(tmp_path)
    config = read_config(tmp_path)
    places = code_places(config["codes"], config["codes_after"], config["books"])
    adapter = Adapter(load_file(tmp_path / WEIGHTS), 1.0, places)
    base = torch.randn(VOCABULARY.text_size, part.rows_input.shape[1])
    for side in ("input", "output"):
        rows = adapter.rows(side, base)
        assert rows is not None
        assert torch.equal(rows, part.rows(side, base))


@pytest.mark.timeout(600)
def test_the_pack_of_codes_is_trained_beside_the_pack_of_signals_and_serves(recipe: Recipe) -> None:
    run_codes(replace(recipe, amounts=AMOUNTS["alignment.codes"]))
    made = open_pack(str(recipe.pack.with_name("mini-codes")))
    assert {made.outputs[modality].path for modality in (IMAGE, VIDEO, AUDIO, SPEECH)} == {"codes"}
    assert check(made) == []
    assert [defects for _, defects in round_trips(made) if defects] == []
