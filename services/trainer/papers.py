"""Vocabulary and prompt of the two published systems, as data: packs of their weights are laid out like this.

AnyGPT (arXiv 2402.12226) on LLaMA-2, NExT-GPT (arXiv 2309.05519) on Vicuna-7B v0; both have 32,000 text tokens, of
which `<s>` begins what they read.
"""

from __future__ import annotations

from anygpt.pack import PromptEntry
from anygpt.vocabulary import BracketsBlock, CodesBlock, ControlBlock, SignalsBlock, VocabularyLayout

LLAMA_TEXT_SIZE = 32_000

ANYGPT_BASE = VocabularyLayout(
    text_size=LLAMA_TEXT_SIZE,
    blocks=(
        ControlBlock(tokens=("[Human]", "[MMGPT]", "<eoh>", "<eos>")),
        CodesBlock(modality="image", count=8192, token="<\U0001f440{}>"),
        BracketsBlock(modalities=("image",), begin="<soim>", end="<eoim>"),
        CodesBlock(modality="speech", count=1024, token="<\U0001f5e3\ufe0f{}>"),
        BracketsBlock(modalities=("speech",), begin="<sosp>", end="<eosp>"),
        CodesBlock(modality="audio", count=8192, cycle=4, token="<\U0001f3b6{}>"),
        BracketsBlock(modalities=("audio",), begin="<somu>", end="<eomu>"),
    ),
)
"""After pre-training: codes before their brackets; music takes turns among four codebooks of 2,048."""

ANYGPT_CHAT = VocabularyLayout(
    text_size=LLAMA_TEXT_SIZE, blocks=(*ANYGPT_BASE.blocks, ControlBlock(tokens=("<-Res->", "<-Ins->")))
)
"""After instruction tuning, which marks a spoken instruction and its response."""

NEXT_GPT = VocabularyLayout(
    text_size=LLAMA_TEXT_SIZE,
    blocks=(
        BracketsBlock(modalities=("image", "video", "audio"), begin="<Img>", end="</Img>"),
        SignalsBlock(modality="image", count=4, token="[IMG{}]"),
        SignalsBlock(modality="video", count=24, token="[VID{}]"),
        SignalsBlock(modality="audio", count=8, token="[AUD{}]"),
    ),
)
"""One pair of brackets around every incoming modality, 36 signal tokens."""

ANYGPT_BASE_PROMPT = PromptEntry(
    before_system="",
    before_user="<s>[Human]: ",
    before_assistant=" [MMGPT]:",
    after_turn="<eoh>",
    after_answer="<eos>",
    stop=("<eos>",),
)
ANYGPT_CHAT_PROMPT = PromptEntry(
    system=(
        "You are an AI assistant named MMGPT who can understand and generate multimodal content, including text, "
        "speech, images and audio."
    ),
    before_system="<s>", before_user="\n[Human]: ", before_assistant="\n[MMGPT]:", after_turn="<eoh>",
    after_system="", after_answer="<eos>", stop=("<eos>",),
    speech_suffix="Please recognize the voice command and give reply and voice",
)  # fmt: skip
NEXT_GPT_PROMPT = PromptEntry(
    before_system="",
    before_user="<s>### Human: ",
    before_assistant="### Assistant: ",
    after_turn="\n",
    stop=("###",),
)
