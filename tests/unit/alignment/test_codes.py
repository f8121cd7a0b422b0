from __future__ import annotations

import shutil
from dataclasses import dataclass, replace
from functools import cached_property, partial
from itertools import islice
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file
from torch import Tensor
from transformers import PreTrainedTokenizerFast

from anygpt.pack import open_pack, packs_folder
from anygpt.topology import AUDIO, IMAGE, SPEECH, TEXT, VIDEO
from anygpt.vocabulary import ModalityName, Vocabulary
from anygpt_models.audio_codec import LENGTH
from anygpt_models.image_codec import ImageCodec
from anygpt_models.lora import LanguageAdapter, code_places
from anygpt_models.part import CONFIG, WEIGHTS, read_config
from anygpt_models.speech_units import SpeechUnits
from services.llm.model.updates import Adapter
from services.trainer import alignment_codes, pack
from services.trainer.alignment_codecs import Codecs, CodesOfMedia
from services.trainer.alignment_codes import MISREAD, lay_out, misread, run_codes, with_codes
from services.trainer.alignment_lead import PICTURE, Sides, mean_words, of_pictures, of_sounds
from services.trainer.alignment_sequence import NOT_LEARNED, Batch, Sequencer
from services.trainer.alignment_words import Tokens, length
from services.trainer.base_model import token_ids
from services.trainer.data.messages import Dialogue, Part, Turn
from services.trainer.data.mixture import CANONICAL_COLOUR
from services.trainer.data.scenes import Album
from services.trainer.data.world import Scene
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
    """Those of the path, which writes pictures from their middle."""
    folder = recipe.pack.with_name("laid_out")
    lay_out(recipe.pack, folder)
    return Codecs.open(replace(recipe, pack=folder))


@pytest.fixture(scope="module")
def media(recipe: Recipe, codecs: Codecs) -> CodesOfMedia:
    return CodesOfMedia.open(recipe, codecs)


class FewThings(Album):
    """Every third kind of thing: looking at all of them takes minutes."""

    @cached_property
    def rows(self) -> dict[str, list[int]]:
        return dict(islice(super().rows.items(), 0, None, 3))


@pytest.fixture(scope="module")
def few(media: CodesOfMedia) -> CodesOfMedia:
    return CodesOfMedia(media.codecs, FewThings(media.album.stills), media.clips)


@dataclass(frozen=True)
class Words:
    """Words of a model that knows none, and what codes say in them."""

    embedding: Tensor
    tokens: Tokens
    said: tuple[Sides, Sides]


@pytest.fixture(scope="module")
def words(few: CodesOfMedia) -> Words:
    tokenizer = PreTrainedTokenizerFast(tokenizer_file=str(MINI / "tokenizer" / "tokenizer.json"))
    torch.manual_seed(0)
    embedding = torch.randn(
        VOCABULARY.text_size, LanguageAdapter.open(MINI / "llm_adapter").rows_input.shape[1]
    )
    tokens = partial(token_ids, tokenizer)
    said = of_pictures(few, tokens, embedding, views=1), of_sounds(few, tokens, embedding)
    return Words(embedding, tokens, said)


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


def test_an_adapter_of_codes_keeps_what_both_vocabularies_have(codecs: Codecs, words: Words) -> None:
    signals = LanguageAdapter.open(MINI / "llm_adapter")
    codes, base = with_codes(signals, codecs, words.said), words.embedding
    before = dict(zip(Vocabulary(pack.LAYOUT).token_texts(), signals.rows("input", base), strict=True))
    for text, row in zip(VOCABULARY.token_texts(), codes.rows("input", base), strict=True):
        if text in before:
            assert torch.equal(row, before[text])


def test_pictures_and_clips_share_the_rows_of_their_codes(codecs: Codecs, words: Words) -> None:
    adapter = with_codes(LanguageAdapter.open(MINI / "llm_adapter"), codecs, words.said)
    rows = adapter.rows("input", words.embedding)
    first = {modality: place.first - VOCABULARY.text_size for modality, place in VOCABULARY.codes.items()}
    seen, moving, heard = (rows[first[modality] :][: pack.MEDIA_CODES] for modality in (IMAGE, VIDEO, AUDIO))
    assert torch.equal(seen, moving)
    assert not torch.equal(seen, heard)
    assert len({tuple(row) for row in seen[:, :8].tolist()}) == pack.MEDIA_CODES


def test_a_code_that_leads_pictures_of_one_thing_begins_as_its_word_on_both_sides(
    codecs: Codecs, few: CodesOfMedia, words: Words
) -> None:
    rows = with_codes(LanguageAdapter.open(MINI / "llm_adapter"), codecs, words.said)
    kinds = list(few.album.rows)
    plain = codecs.image.encode(few.album.render([Scene(kind, CANONICAL_COLOUR) for kind in kinds]))
    vectors = torch.stack([words.embedding[words.tokens(f" {kind}")].mean(0) for kind in kinds])
    first = VOCABULARY.codes[IMAGE].first - VOCABULARY.text_size
    for side, lead in PICTURE.items():
        leading = rows.rows(side, words.embedding)[first + plain[:, :lead]].sum(1)
        named = (leading @ (vectors - vectors.mean(0)).T).argmax(1)
        assert (named == torch.arange(len(kinds))).float().mean() > 0.8


def test_a_code_that_leads_wherever_it_wants_says_nothing() -> None:
    words = torch.eye(3)
    told = mean_words(torch.tensor([[0, 3], [1, 3], [2, 3]]), words, 5)
    assert told[3:].abs().max() < 1e-6
    assert torch.equal(told[:3].argmax(1), torch.arange(3))


def test_a_codec_that_begins_with_the_middle_draws_the_same(codecs: Codecs, media: CodesOfMedia) -> None:
    middle, rows = codecs.image, ImageCodec.open(MINI / "image_codec")
    pixels = media.album.render([Scene("cat", CANONICAL_COLOUR), Scene("dog", CANONICAL_COLOUR)])
    codes, ordered = rows.encode(pixels), middle.encode(pixels)
    assert torch.equal(ordered[:, 0], codes[:, 20])
    assert torch.equal(ordered[:, -1], codes[:, -1])
    assert torch.equal(middle.decode(ordered), rows.decode(codes))
    assert torch.equal(middle.decode(middle.encode_scene(pixels)), rows.decode(rows.encode_scene(pixels)))
    with pytest.raises(ValueError, match="each of 31 codes once"):
        ImageCodec(order=(0, 1))
    with pytest.raises(ValueError, match="three colours"):
        ImageCodec(backdrop=(0, 1))


def test_the_generator_reads_the_very_rows_that_were_trained(
    codecs: Codecs, words: Words, tmp_path: Path
) -> None:
    part = with_codes(LanguageAdapter.open(MINI / "llm_adapter"), codecs, words.said)
    for name, weight in part.named_parameters():
        if name.startswith("book"):
            torch.nn.init.normal_(weight)
    part.save_pretrained(tmp_path)
    config = read_config(tmp_path)
    places = code_places(config["codes"], config["codes_after"], config["books"])
    adapter = Adapter(load_file(tmp_path / WEIGHTS), 1.0, places)
    base = words.embedding
    for side in ("input", "output"):
        rows = adapter.rows(side, base)
        assert rows is not None
        assert torch.equal(rows, part.rows(side, base))


def test_the_path_begins_anew_with_an_adapter_that_a_kill_left_half_written(
    recipe: Recipe, media: CodesOfMedia, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def begun() -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(alignment_codes, "base_model", begun)
    (tmp_path / CONFIG).write_text("{}")
    with pytest.raises(KeyboardInterrupt):
        alignment_codes.begin(recipe, tmp_path, media)
    (tmp_path / WEIGHTS).touch()
    alignment_codes.begin(recipe, tmp_path, media)


@pytest.mark.timeout(600)
def test_the_pack_of_codes_is_trained_beside_the_pack_of_signals_and_serves(recipe: Recipe) -> None:
    run_codes(replace(recipe, amounts=AMOUNTS["alignment.codes"]))
    made = open_pack(str(recipe.pack.with_name("mini-codes")))
    assert {made.outputs[modality].path for modality in (IMAGE, VIDEO, AUDIO, SPEECH)} == {"codes"}
    assert check(made) == []
    assert [defects for _, defects in round_trips(made) if defects] == []
