from __future__ import annotations

from anygpt.pack import PromptEntry
from anygpt.topology import AUDIO, IMAGE, SPEECH, VIDEO
from anygpt.vocabulary import Brackets, IdRange, Vocabulary
from anygpt_models.speech_units import UNIT_COUNT
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


def written(prompt: PromptEntry, *turns: str) -> str:
    """User and assistant in turn; the last answer is still to come."""
    text = prompt.before_system + prompt.system
    for place, turn in enumerate(turns):
        text += (prompt.before_assistant if place % 2 else prompt.before_user) + turn + prompt.after_turn
    return text + prompt.before_assistant


def test_the_base_template_of_anygpt_is_byte_for_byte_its_own() -> None:
    assert written(papers.ANYGPT_BASE_PROMPT, "{i} {X}") == "[Human]: {i} {X}<eoh> [MMGPT]:"
    assert (
        written(papers.ANYGPT_BASE_PROMPT, "{i} This is input: {t}")
        == "[Human]: {i} This is input: {t}<eoh> [MMGPT]:"
    )


def test_the_chat_template_of_anygpt_starts_with_its_system_line() -> None:
    assert written(papers.ANYGPT_CHAT_PROMPT, "m") == (
        "You are an AI assistant named MMGPT who can understand and generate multimodal content, including text, "
        "speech, images and audio.\n[Human]: m<eoh>\n[MMGPT]:"
    )


def test_the_template_of_next_gpt_is_byte_for_byte_its_own() -> None:
    text = written(papers.NEXT_GPT_PROMPT, "<Img>{emb}</Img> hello", "hi", "more")
    assert text == "### Human: <Img>{emb}</Img> hello\n### Assistant: hi\n### Human: more\n### Assistant: "
