"""Mini-MosIT: 5,000 dialogues of the small world for training and 500 of other topics for judging; seeded."""

from __future__ import annotations

import random
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from anygpt.vocabulary import ModalityName
from services.trainer.data import world
from services.trainer.data.chat import Exchange, own_exchanges
from services.trainer.data.messages import Dialogue, Part, Turn
from services.trainer.data.sentences import build_sentences
from services.trainer.mosit.check import FEWEST_ROUNDS, MOST_ROUNDS
from services.trainer.mosit.record import ENDINGS, LETTERS, Message, Piece, Record
from services.trainer.mosit.rounds import Round, Rounds
from services.trainer.mosit.topics import Topic, topics

TRAINED, HELD_OUT = 5000, 500
WORDS = 3000
"""Places in the list of common words that sentences draw from."""
LONGEST_SENTENCE = 10
"""Words that are spoken at once."""
_SETTINGS = ("I am working on {}.", "This is for {}.", "We are making {}.", "Help me with {}.")


@dataclass(frozen=True)
class Texts:
    """What is said in dialogues beside their topic."""

    exchanges: Sequence[Exchange]
    sentences: Sequence[str]

    @classmethod
    def of_split(cls, split: str) -> Texts:
        """Sentences that only this split has."""
        words = sorted({word for name in world.OBJECTS for word in name.split()})
        corpus = build_sentences(tuple(words * (1 + WORDS // len(words))), train=3000, held_out=150)
        sentences = corpus.held_out if split == "held_out" else corpus.train
        short = [sentence for sentence in sentences if len(sentence.split()) <= LONGEST_SENTENCE]
        return cls([exchange for exchange in own_exchanges() if exchange.is_short], short)


def build(split: str, count: int, seed: int = 0) -> list[Record]:
    """Distinct dialogues of a split, its topics in turn."""
    texts, known = Texts.of_split(split), topics(split)
    found: dict[tuple[Message, ...], Record] = {}
    number = 0
    while len(found) < count:
        topic = known[number % len(known)]
        written = _written(topic, random.Random(f"{seed} {split} {number}"), texts)
        found.setdefault(tuple(Message(m.sender, m.pieces) for m in written.messages), written)
        number += 1
    # Media of both splits can lie in one folder.
    first = TRAINED if split == "held_out" else 0
    return [_with_names(record, place) for place, record in enumerate(found.values(), first)]


def pairs(record: Record) -> set[tuple[ModalityName, ModalityName]]:
    """Ordered pairs of modalities that the rounds of a dialogue go through."""
    rounds = zip(record.messages[::2], record.messages[1::2], strict=True)
    return {(a, b) for request, answer in rounds for a in request.modalities for b in answer.modalities}


def dialogues(record: Record) -> Iterator[Dialogue]:
    """A record as training sees it: each round in turn is the last one, which is learned."""
    rounds = zip(record.messages[::2], record.messages[1::2], strict=True)
    turns = tuple(Turn(_parts(request), _parts(answer)) for request, answer in rounds)
    for count in range(1, len(turns) + 1):
        yield Dialogue("mosit", turns[:count])


def _written(topic: Topic, pick: random.Random, texts: Texts) -> Record:
    writer = Rounds(pick.randrange(1 << 30), topic, texts.exchanges, texts.sentences)
    rounds = [writer.next(place) for place in range(pick.randint(FEWEST_ROUNDS, MOST_ROUNDS))]
    if pick.random() < 0.5:
        rounds[0] = _in_a_setting(rounds[0], topic, pick)
    messages: list[Message] = []
    for request, answer, _ in rounds:
        messages += [Message("human", _pieces(request)), Message("gpt", _pieces(answer))]
    return Record(tuple(messages), topic.name, topic.split, tuple(one.reference for one in rounds))


def _in_a_setting(first: Round, topic: Topic, pick: random.Random) -> Round:
    """Say before a written request what it is for."""
    setting = pick.choice(_SETTINGS).format(f"{topic.purpose} about {topic.subject}")
    request = tuple(
        part._replace(content=f"{setting} {part.content[0].upper()}{part.content[1:]}")
        if part.modality == "text"
        else part
        for part in first.request
    )
    return first._replace(request=request)


def _with_names(record: Record, place: int) -> Record:
    """Give every medium the name of its file."""
    counts = dict.fromkeys(LETTERS, 0)
    messages = []
    for message in record.messages:
        pieces = []
        for piece in message.pieces:
            if piece.modality in counts:
                letter, count = LETTERS[piece.modality], counts[piece.modality]
                piece = piece._replace(name=f"mosit_{letter}_{place:07}_{count:02}.{ENDINGS[piece.modality]}")
                counts[piece.modality] += 1
            pieces.append(piece)
        messages.append(Message(message.sender, tuple(pieces)))
    return Record(tuple(messages), record.topic, record.split, record.references)


def _pieces(parts: Sequence[Part]) -> tuple[Piece, ...]:
    return tuple(Piece(*part) for part in parts)


def _parts(message: Message) -> tuple[Part, ...]:
    return tuple(Part(piece.modality, piece.content) for piece in message.pieces)
