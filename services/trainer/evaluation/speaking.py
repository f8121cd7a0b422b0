"""Rows of speech: what is understood of it, and how well what is said can be understood."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from anygpt_models.speech_text import spoken
from services.trainer.evaluation.asking import Question, Turn
from services.trainer.evaluation.attributes import seed_of
from services.trainer.evaluation.files import read_sound
from services.trainer.evaluation.interval import Observation
from services.trainer.evaluation.judgement import Reply
from services.trainer.evaluation.material import Sampler
from services.trainer.evaluation.task import Bench, Metric, Row
from services.trainer.word_errors import edits

MOST_ERRORS = 0.085
"""AnyGPT's own word error rate on LibriSpeech, and on VCTK."""


class TranscriptRow(Row):
    """Held-out sentences in the first voice, to be written down."""

    name = "speech -> text"
    metrics = (Metric("speech -> text: word errors", "edit distance", MOST_ERRORS, "ratio", at_most=True),)

    def questions(self, bench: Bench, count: int) -> Iterator[Question]:
        """See Row."""
        return (
            Question((Turn((bench.material.said(text), "Transcribe this."), ("text",)),), text, text)
            for text in _sentences(bench, self.name, count)
        )

    def observe(self, bench: Bench, question: Question, reply: Reply) -> Sequence[Observation]:
        """See Row."""
        said, heard = question.expected.split(), spoken(reply.text).split()
        return [(edits(said, heard), len(said))]


class SpeakingRow(Row):
    """Held-out sentences to be said, as whisper-tiny hears them, less what it mishears of the voice itself."""

    name = "text -> speech"
    metrics = (
        Metric(
            "text -> speech: word errors beyond the voice's own", "whisper-tiny", MOST_ERRORS, "difference",
            at_most=True,
        ),
    )  # fmt: skip

    def questions(self, bench: Bench, count: int) -> Iterator[Question]:
        """See Row."""
        return (
            Question((Turn((f"Say: {text}",), ("speech",)),), text, text)
            for text in _sentences(bench, self.name, count)
        )

    def observe(self, bench: Bench, question: Question, reply: Reply) -> Sequence[Observation]:
        """See Row."""
        said, hear = question.expected.split(), bench.judges.listener.hear
        data = reply.files.get("speech")
        heard = hear(read_sound(data)).split() if data else []
        itself = hear(bench.material.spoken(question.expected)).split()
        return [(edits(said, heard) - edits(said, itself), len(said))]


def _sentences(bench: Bench, name: str, count: int) -> list[str]:
    known = bench.material.sentences
    pick = Sampler(seed_of(name)).pick
    return [text for _ in range(-(-count // len(known))) for text in pick.sample(list(known), len(known))][
        :count
    ]
