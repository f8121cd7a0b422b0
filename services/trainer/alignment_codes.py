"""AnyGPT's path: the same pack once more, with pictures, clips, music and sounds as codes in one vocabulary.

What drew, composed and recognised media is left out but for the codecs: the language model writes the codes itself,
and reads them. It starts from the adapter of the pack by signals, and learns in a pack of its own beside it.
"""

from __future__ import annotations

import random
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path

import torch
from torch import Tensor

from anygpt.topology import AUDIO, IMAGE, SPEECH, VIDEO
from anygpt.vocabulary import ModalityName, Vocabulary
from anygpt_models.image_codec import MIDDLE_FIRST
from anygpt_models.lora import LanguageAdapter
from anygpt_models.part import is_kept, read_config, write_config
from services.trainer import pack
from services.trainer.alignment_codecs import Codecs, CodesOfMedia
from services.trainer.alignment_lead import Sides, mean_length, of_pictures, of_sounds
from services.trainer.alignment_reading import keep, wanted_of
from services.trainer.alignment_sequence import Batch, TokenSequence, batches, collate
from services.trainer.alignment_setup import Alignment
from services.trainer.alignment_sheets import answered
from services.trainer.base_model import base_model, token_ids
from services.trainer.data import dialogues, english
from services.trainer.data.ideas import Idea, Music, Sound
from services.trainer.data.mixture import canonical_backdrop
from services.trainer.loop import train
from services.trainer.processes import once
from services.trainer.recipe import Recipe

AMOUNTS = {"made": 9000, "named": 7500, "dialogues": 1200, "batch_tokens": 1024, "english": 1, "views": 16}
"""Requests for one medium, questions about one, dialogues of any family; tokens and plain texts of a step; pictures of
a thing in which its codes are looked at.
"""
MADE = {"image": 12, "video": 6, "music": 1, "sound": 1}
"""How often each kind of media is asked for."""
MISREAD = 0.8
"""Largest share of the codes of an answer that are others where the model reads on from them."""
ENGLISH_WEIGHT = 1.0
APART = 0.3
"""How long what tells one code from another is where it comes in, by how long its word is. The model levels each token:
of a word that is the quieter part of it, it hears little.
"""


def run_codes(recipe: Recipe) -> None:
    """Learn to write and to read the codes of media, in `<pack>-codes` beside the pack."""
    beside = replace(recipe, pack=recipe.pack.with_name(f"{recipe.pack.name}-codes"))
    once(lambda: lay_out(recipe.pack, beside.pack))
    media = CodesOfMedia.open(recipe, Codecs.open(beside))
    once(lambda: begin(recipe, beside.pack / pack.ADAPTER, media))
    converse(beside, Alignment.open(beside, pack.CODES, media))
    once(lambda: pack.tell(beside.pack, pack.finish(beside.pack, pack.CODES)))


def converse(recipe: Recipe, alignment: Alignment) -> None:
    """Learn the answers of dialogues whose media are codes, and to leave plain English as it was."""
    amounts = recipe.amount(AMOUNTS)
    model, groups = alignment.model, _batches(alignment, amounts)
    model.learn(model.adapter)
    with model.adapter.lora.left_out():
        texts = english.texts(recipe.cache, english.sampled(model.base, alignment.sequencer.tokenizer))

    def step(number: int) -> Tensor:
        batch = collate(groups[number % len(groups)], pad=0)
        plain = texts[torch.randint(len(texts), (amounts["english"],))]
        answers = model.answer_loss(batch, model.hidden(misread(batch, model.vocabulary), _nothing)[0])
        return answers + ENGLISH_WEIGHT * model.drift_loss(plain)

    run = recipe.run("alignment_codes", learning_rate=1.2e-3, warmup=20, save_every=25, log_every=5)
    train(run, model, step, answered(alignment, _nothing))
    keep(recipe, model, "_adapter")


def _batches(alignment: Alignment, amounts: Mapping[str, int]) -> list[list[TokenSequence]]:
    """Lessons of one kind together: the few words of an answer would count for little beside the codes of others."""
    writer, pick = dialogues.Writer(77, alignment.talk, held_out=False), random.Random(77)
    heard = wanted_of("audio")
    ideas: dict[str, list[Idea]] = {
        "image": wanted_of("image"),
        "video": wanted_of("video"),
        "music": [idea for idea in heard if isinstance(idea, Music)],
        "sound": [idea for idea in heard if isinstance(idea, Sound)],
    }
    made = pick.choices(list(MADE), list(MADE.values()), k=amounts["made"])
    lessons = (
        [writer.request(pick.choice(ideas[kind])) for kind in made],
        [writer.of("name") for _ in range(amounts["named"])],
        dialogues.build(amounts["dialogues"], 3, alignment.talk),
    )
    groups = [
        batch
        for some in lessons
        for batch in batches([alignment.sequencer.sequence(one) for one in some], amounts["batch_tokens"])
    ]
    pick.shuffle(groups)
    return groups


def misread(batch: Batch, vocabulary: Vocabulary) -> Batch:
    """The same answers with some of their codes of media replaced by others of the batch, in each to another extent.

    Otherwise a code is learned as what follows the codes before it, and one mistake makes a picture of another thing.
    """
    ids = batch.ids.clone()
    often = MISREAD * torch.rand(len(ids), 1)
    for modality in vocabulary.codes:
        if modality == SPEECH:
            continue
        written = (batch.learned == modality) & (batch.ids != vocabulary.brackets[modality].end)
        wrong = written & (torch.rand(ids.shape) < often)
        if wrong.any():
            others = batch.ids[written]
            ids[wrong] = others[torch.randint(len(others), (int(wrong.sum()),))]
    return replace(batch, ids=ids)


def _nothing(modality: ModalityName, captions: Sequence[str]) -> Tensor:
    raise ValueError(f"{modality} has no features: it is codes")


def lay_out(source: Path, folder: Path) -> None:
    """Copy what the path needs of a pack into a folder.

    Codes of its pictures begin with the middle, and tell of a thing what they tell of it before one backdrop.
    """
    for part in sorted(path for path in source.iterdir() if path.is_dir() and not _is_left_out(path.name)):
        shutil.copytree(part, folder / part.name, dirs_exist_ok=True)
    codec = folder / "image_codec"
    settings = {"order": MIDDLE_FIRST, "backdrop": canonical_backdrop().tolist()}
    write_config(codec, read_config(codec) | settings)


def begin(recipe: Recipe, folder: Path, media: CodesOfMedia) -> None:
    """Give the path an adapter to start from, where it has none."""
    if is_kept(folder):
        return
    base, tokenizer = base_model()
    embedding, tokens = base.get_input_embeddings().weight.detach(), partial(token_ids, tokenizer)
    views = recipe.amount(AMOUNTS)["views"]
    said = of_pictures(media, tokens, embedding, views), of_sounds(media, tokens, embedding)
    with_codes(LanguageAdapter.open(recipe.pack / pack.ADAPTER), media.codecs, said).save_pretrained(folder)


def _is_left_out(part: str) -> bool:
    recognises = part.endswith("_recogniser") and not part.startswith("speech")
    return recognises or part.endswith("_projection") or part == pack.ADAPTER


def with_codes(signals: LanguageAdapter, codecs: Codecs, said: tuple[Sides, Sides]) -> LanguageAdapter:
    """The adapter of a pack by signals in the vocabulary of codes: what both have is kept.

    Rows of other codes begin with what their codec says of a code, and with what is said by those of pictures and of
    sounds that lead; pictures and clips share theirs.
    """
    before, after = Vocabulary(pack.LAYOUT), Vocabulary(pack.CODES_LAYOUT)
    place = {modality: codes.first - after.text_size for modality, codes in after.codes.items()}
    pictures, sounds = codecs.image_digits(), codecs.audio_entries()
    ranks = [
        facts.shape[1] + sides["input"].codes.shape[1]
        for facts, sides in zip((pictures, sounds), said, strict=True)
    ]
    settings = dict(signals.config) | {
        "tokens": after.size - after.text_size,
        "codes_after": place[SPEECH],
        "books": [
            [len(pictures), ranks[0], place[IMAGE], place[VIDEO]],
            [len(sounds), ranks[1], place[AUDIO]],
        ],
    }
    adapter = LanguageAdapter(**settings)
    adapter.load_state_dict(_kept(signals, before, after), strict=False)
    for number, facts in enumerate((pictures, sounds)):
        _begin(adapter, number, facts, said[number])
    return adapter


def _kept(signals: LanguageAdapter, before: Vocabulary, after: Vocabulary) -> dict[str, Tensor]:
    """The tensors that both adapters have, with the rows of what is no code in the new order.

    Time marks, which only one has, begin as the bracket that opens their span.
    """
    known, opening = _tokens(before), after.token_texts()[after.brackets[VIDEO].begin - after.text_size]
    rows = [known.index(text if text in known else opening) for text in _tokens(after)]
    kept = dict(signals.state_dict())
    return kept | {name: kept[name][rows] for name in ("rows_input", "rows_output")}


def _tokens(vocabulary: Vocabulary) -> list[str]:
    """The texts of the new tokens that are no codes."""
    codes = {code for place in vocabulary.codes.values() for code in place.ids}
    texts = enumerate(vocabulary.token_texts(), vocabulary.text_size)
    return [text for token, text in texts if token not in codes]


@torch.no_grad()
def _begin(adapter: LanguageAdapter, number: int, facts: Tensor, said: Sides) -> None:
    """Codes come in as their words, and go out as the words of those that lead: all others are as likely."""
    count = facts.shape[1]
    for side, words in said.items():
        book = adapter.book(number, side)
        book.a.copy_(torch.cat([facts, words.codes], dim=1))
        book.b[count:] = words.directions
        if side == "output":
            book.b[:count] = 0
        else:
            book.shift.copy_(words.mean)
            book.b[:count] *= APART * words.length() / mean_length(facts @ book.b[:count])
