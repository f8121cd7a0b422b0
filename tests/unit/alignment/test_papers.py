from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from tokenizers import Tokenizer, decoders, models, pre_tokenizers

from anygpt.pack import Pack, PromptEntry, read_pack
from anygpt.topology import AUDIO, IMAGE, SPEECH, TEXT, VIDEO
from anygpt.v1 import types_pb2
from anygpt.v1.anygpt_service_pb2 import GenerateRequest, Turn
from anygpt.vocabulary import Brackets, IdRange, Vocabulary
from anygpt_models.speech_units import UNIT_COUNT
from services.gateway.prompt import PromptWriter
from services.trainer import papers
from services.trainer.pack import LAYOUT


def test_anygpt_has_codes_before_their_brackets_at_the_published_ids() -> None:
    vocabulary = Vocabulary(papers.ANYGPT_BASE)
    assert vocabulary.codes[IMAGE] == IdRange(32004, 8192)
    assert vocabulary.brackets[IMAGE] == Brackets(40196, 40197)
    assert vocabulary.codes[SPEECH] == IdRange(40198, 1024)
    assert vocabulary.codes[AUDIO] == IdRange(41224, 8192, cycle=4)
    assert vocabulary.brackets[AUDIO] == Brackets(49416, 49417)
    assert vocabulary.size == 49418


def test_instruction_tuning_of_anygpt_appends_two_tokens() -> None:
    vocabulary = Vocabulary(papers.ANYGPT_CHAT)
    assert vocabulary.control["<-Res->"] == 49418
    assert vocabulary.control["<-Ins->"] == 49419
    assert vocabulary.size == 49420


def test_the_four_codebooks_of_music_take_turns() -> None:
    codes = Vocabulary(papers.ANYGPT_BASE).codes[AUDIO]
    assert [codes.band(position).start - 41224 for position in range(5)] == [0, 2048, 4096, 6144, 0]


def test_next_gpt_has_one_pair_of_brackets_and_36_signals_at_the_published_ids() -> None:
    vocabulary = Vocabulary(papers.NEXT_GPT)
    assert set(vocabulary.brackets.values()) == {Brackets(32000, 32001)}
    assert vocabulary.signals[IMAGE] == IdRange(32002, 4)
    assert vocabulary.signals[VIDEO] == IdRange(32006, 24)
    assert vocabulary.signals[AUDIO] == IdRange(32030, 8)
    assert vocabulary.size == 32038
    assert vocabulary.token_texts()[2:6] == ["[IMG0]", "[IMG1]", "[IMG2]", "[IMG3]"]


def test_mini_has_the_signals_of_next_gpt_and_a_code_for_every_speech_unit() -> None:
    vocabulary = Vocabulary(LAYOUT)
    assert [vocabulary.signals[modality].count for modality in (IMAGE, VIDEO, AUDIO)] == [4, 24, 8]
    assert vocabulary.codes[SPEECH].count == UNIT_COUNT == 8192
    assert vocabulary.size == 49152 + 2 * 4 + 4 + 24 + 8 + UNIT_COUNT
    assert len(set(vocabulary.token_texts())) == vocabulary.size - vocabulary.text_size


Written = Callable[..., str]


@pytest.fixture
def written(tmp_path: Path) -> Written:
    """What a prompt template makes of messages and answers in turn; the last answer is still to come."""
    mini, letters = read_pack("mini").manifest, pre_tokenizers.ByteLevel.alphabet()
    tokenizer = Tokenizer(models.BPE({letter: place for place, letter in enumerate(sorted(letters))}, []))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    (tmp_path / mini.base_model.tokenizer).mkdir()
    tokenizer.save(str(tmp_path / mini.base_model.tokenizer / "tokenizer.json"))

    def write(prompt: PromptEntry, *said: str) -> str:
        writer = PromptWriter(Pack(tmp_path, mini.model_copy(update={"prompt": prompt}), ""), 256)
        parts = [[types_pb2.Part(modality=TEXT, text=text)] for text in said]
        turns = [
            Turn(parts=asked, answer=answer) for asked, answer in zip(parts[::2], parts[1::2], strict=False)
        ]
        found = writer.write(GenerateRequest(parts=parts[-1]), turns, {})
        return "".join(segment.text or tokenizer.decode(segment.tokens.ids) for segment in found.segments)

    return write


def test_the_base_template_of_anygpt_is_byte_for_byte_its_own(written: Written) -> None:
    assert written(papers.ANYGPT_BASE_PROMPT, "{i} {X}") == "<s>[Human]: {i} {X}<eoh> [MMGPT]:"
    assert (
        written(papers.ANYGPT_BASE_PROMPT, "{i} This is input: {t}")
        == "<s>[Human]: {i} This is input: {t}<eoh> [MMGPT]:"
    )


def test_the_chat_template_of_anygpt_starts_with_its_system_line(written: Written) -> None:
    assert written(papers.ANYGPT_CHAT_PROMPT, "m") == (
        "<s>You are an AI assistant named MMGPT who can understand and generate multimodal content, including text, "
        "speech, images and audio.\n[Human]: m<eoh>\n[MMGPT]:"
    )


def test_an_answer_of_anygpt_ends_with_what_stops_it(written: Written) -> None:
    later = written(papers.ANYGPT_CHAT_PROMPT, "m", "reply", "more")
    assert later.endswith("\n[Human]: m<eoh>\n[MMGPT]:reply<eos>\n[Human]: more<eoh>\n[MMGPT]:")


def test_the_template_of_next_gpt_is_byte_for_byte_its_own(written: Written) -> None:
    text = written(papers.NEXT_GPT_PROMPT, "<Img>{emb}</Img> hello", "hi", "more")
    assert (
        text == "<s>### Human: <Img>{emb}</Img> hello\n### Assistant: hi\n<s>### Human: more\n### Assistant: "
    )
