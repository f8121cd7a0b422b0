from __future__ import annotations

import pytest
import torch
from transformers import PreTrainedTokenizerFast

from anygpt.pack import Pack, open_pack
from anygpt.topology import IMAGE, SPEECH, TEXT
from anygpt.v1 import anygpt_service_pb2, types_pb2
from anygpt_models.speech_units import SpeechUnits
from services.gateway.prompt import PromptWriter
from services.trainer.alignment_sequence import NOT_LEARNED, Sequencer, batches, collate
from services.trainer.alignment_words import LENGTHS, WordTargets, length
from services.trainer.data import dialogues
from services.trainer.data.messages import Dialogue, Part, Turn
from services.trainer.data.talk import Talk


@pytest.fixture(scope="module")
def pack() -> Pack:
    return open_pack("mini")


@pytest.fixture(scope="module")
def sequencer(pack: Pack) -> Sequencer:
    tokenizer = PreTrainedTokenizerFast(tokenizer_file=str(pack.part("tokenizer") / "tokenizer.json"))
    units = SpeechUnits.from_pretrained(pack.part("speech_units"))
    return Sequencer(pack.vocabulary, tokenizer, units, pack.manifest.prompt, length)


def one_turn(request: tuple[Part, ...], *answer: Part, forced: bool = False) -> Dialogue:
    return Dialogue("test", (Turn(request, answer),), forced)


def test_a_prompt_reads_back_as_the_template_around_the_words(sequencer: Sequencer) -> None:
    prompt = sequencer.prompt(one_turn((Part("text", "Draw a cat."),)))
    text = sequencer.tokenizer.decode(prompt.ids)
    assert text == "<|im_start|>user\nDraw a cat.<|im_end|>\n<|im_start|>assistant\n"


def test_the_gateway_writes_the_very_tokens_that_training_saw(pack: Pack, sequencer: Sequencer) -> None:
    earlier = Turn((Part("text", "Hello!"),), (Part("text", "Hello! How can I help you?"),))
    last = Turn((Part("text", "Play sad piano music."),), ())
    ours = sequencer.prompt(Dialogue("test", (earlier, last)), system="Be brief.")
    turn = anygpt_service_pb2.Turn(
        parts=[types_pb2.Part(modality=TEXT, text="Hello!")],
        answer=[types_pb2.Part(modality=TEXT, text="Hello! How can I help you?")],
    )
    request = anygpt_service_pb2.GenerateRequest(
        system="Be brief.", parts=[types_pb2.Part(modality=TEXT, text="Play sad piano music.")]
    )
    segments = PromptWriter(pack, 100).write(request, [turn], {}).segments
    theirs = [
        i for s in segments for i in (s.tokens.ids if s.HasField("tokens") else sequencer.tokens(s.text))
    ]
    assert theirs == ours.ids


def test_features_stand_between_the_brackets_of_their_modality(pack: Pack, sequencer: Sequencer) -> None:
    caption = "a cat on a white background"
    sequence = sequencer.prompt(one_turn((Part("image", caption), Part("text", "What is this?"))))
    slot = sequence.features[0]
    brackets = pack.vocabulary.brackets[IMAGE]
    assert sequence.ids[slot.start - 1] == brackets.begin
    assert sequence.ids[slot.start + 4] == brackets.end


def test_signals_follow_their_opening_and_are_not_learned(pack: Pack, sequencer: Sequencer) -> None:
    answer = (Part("text", "Here is a cat."), Part("image", "a cat on a white background"))
    sequence = sequencer.sequence(one_turn((Part("text", "Draw a cat"),), *answer))
    start = sequence.signals[0].start
    assert sequence.ids[start : start + 4] == list(pack.vocabulary.signals[IMAGE].ids)
    assert sequence.learned[start - 1 : start + 5] == [TEXT, *[NOT_LEARNED] * 5]
    assert sequence.learned[-1] == TEXT


def test_the_opening_of_a_forced_span_is_not_learned(sequencer: Sequencer) -> None:
    answer = Part("speech", "hello")
    sequence = sequencer.sequence(one_turn((Part("text", "Hello!"),), answer, forced=True))
    assert TEXT not in sequence.learned[:-1]
    assert sequence.learned.count(SPEECH) == len(sequencer.units.encode("hello")) + 1


def test_speech_codes_spell_what_was_said(pack: Pack, sequencer: Sequencer) -> None:
    sequence = sequencer.prompt(one_turn((Part("speech", "now say that aloud"),)))
    first = pack.vocabulary.codes[SPEECH].first
    codes = [token - first for token in sequence.ids if first <= token < first + len(sequencer.units)]
    assert sequencer.units.decode(codes) == "now say that aloud"


def test_a_unit_is_like_the_token_that_is_spelled_as_it_is(sequencer: Sequencer) -> None:
    like = sequencer.spelled_alike()
    spelled = [sequencer.tokenizer.decode([token]) for token in like]
    assert spelled == sequencer.units.pieces


def test_every_built_dialogue_is_a_short_sequence(sequencer: Sequencer, talk: Talk) -> None:
    sequences = [sequencer.sequence(dialogue) for dialogue in dialogues.build(400, 1, talk)]
    assert max(len(sequence.ids) for sequence in sequences) < 220
    assert all(any(sequence.learned) for sequence in sequences)
    groups = list(batches(sequences, 512))
    assert sum(len(group) for group in groups) == len(sequences)
    batch = collate(groups[0], pad=0)
    assert batch.ids.shape == batch.learned.shape
    assert torch.equal(batch.ids[0, : len(groups[0][0].ids)], torch.tensor(groups[0][0].ids))


@pytest.mark.parametrize(
    ("modality", "caption"),
    [
        ("image", "a happy face on a white background"),
        ("video", "a hippopotamus moving left on a blue background"),
        ("video", "a hippopotamus on a blue background"),
        ("audio", "happy piano music"),
        ("audio", "the sound of waves"),
    ],
)
def test_words_of_a_caption_fill_the_places_of_its_features(
    sequencer: Sequencer, modality: str, caption: str
) -> None:
    words = WordTargets(sequencer.tokens, torch.randn(49152, 8))
    assert words(modality, caption).shape == (LENGTHS[modality], 8)  # type: ignore[arg-type,index]
