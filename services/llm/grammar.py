"""The grammar of an answer: which tokens may come next, so that malformed spans and unwanted modalities cannot be.

answer = { text | [ announcement ], span }, end of turn
span   = opening bracket, codes with their time marks, or signals, closing bracket
       | signals                                             where brackets are for what comes in, as NExT-GPT has it

An announcement is text that nobody hears: where text is not wanted, and the pack was taught to announce its spans.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from anygpt.errors import Precondition
from anygpt.pack import ANNOUNCEMENT, OutputEntry, Pack
from anygpt.topology import MODALITY_NAMES, TEXT, Modality
from anygpt.vocabulary import Vocabulary
from services.llm.step import Choice
from services.llm.tokeniser import Tokeniser


@dataclass(frozen=True, slots=True)
class Rules:
    """What holds for every answer of a pack."""

    vocabulary: Vocabulary
    outputs: Mapping[Modality, OutputEntry]
    text: tuple[range, ...]
    """The ids that are shown as text."""
    stops: tuple[int, ...]
    """The ids that end an answer; the first stands for all."""
    bare: frozenset[Modality] = frozenset()
    """Modalities whose spans are their signals alone."""
    stop_texts: tuple[str, ...] = ()
    """What ends an answer by whatever tokens it is written: stops that are words of the base tokenizer."""

    def opened_by(self, token: int) -> Modality | None:
        """The modality whose span a token opens."""
        return next((m for m in self.outputs if m != TEXT and self.begin(m) == token), None)

    def begin(self, modality: Modality) -> int:
        """The id that opens a span."""
        if modality in self.bare:
            return self.vocabulary.signals[modality].first
        return self.vocabulary.brackets[modality].begin

    def end(self, modality: Modality) -> int:
        """The id that closes a span."""
        if modality in self.bare:
            return self.vocabulary.signals[modality].ids[-1]
        return self.vocabulary.brackets[modality].end

    def fewest(self, modality: Modality) -> int:
        """Fewest tokens of a span, its brackets not counted."""
        output = self.outputs[modality]
        if modality == TEXT:
            return 1
        if output.path == "signals":
            return self.vocabulary.signals[modality].count
        cycle = self.vocabulary.codes[modality].cycle
        return self.vocabulary.span_length(modality, -(-max(output.min_count, 1) // cycle) * cycle)

    def room(self, modality: Modality) -> int:
        """Positions that the shortest span takes."""
        return self.fewest(modality) + (0 if modality == TEXT or modality in self.bare else 2)


def read_rules(pack: Pack, tokeniser: Tokeniser) -> Rules:
    """The grammar's rules of a pack. Raises Precondition for an output that its vocabulary lacks."""
    vocabulary = pack.vocabulary
    bare = _bare(pack)
    for modality, output in pack.outputs.items():
        places = vocabulary.signals if output.path == "signals" else vocabulary.codes
        if modality != TEXT and not (modality in vocabulary.brackets and modality in places):
            name = MODALITY_NAMES[modality]
            raise Precondition(f"the vocabulary lacks {name}", reason="PACK_MALFORMED", field="vocabulary")
    stops = tuple(
        vocabulary.control.get(token) or tokeniser.stop_id(token) for token in pack.manifest.prompt.stop
    )
    words = tuple(
        token
        for token in pack.manifest.prompt.stop
        if token not in vocabulary.control and not tokeniser.is_control(token)
    )
    text = tuple(piece for ids in tokeniser.text_ranges() for piece in _without(ids, stops))
    return Rules(vocabulary, pack.outputs, text, stops, bare, words)


def _without(ids: range, stops: Sequence[int]) -> list[range]:
    """What is left of a range: a stop may be a word of the base tokenizer, as NExT-GPT's `###` is."""
    cuts = sorted(stop for stop in stops if stop in ids)
    starts, ends = [ids.start, *(cut + 1 for cut in cuts)], [*cuts, ids.stop]
    return [range(start, end) for start, end in zip(starts, ends, strict=True) if start < end]


def _bare(pack: Pack) -> frozenset[Modality]:
    """The outputs whose brackets are not their own. Raises Precondition for one of them that has codes."""
    begins = Counter(place.begin for place in pack.vocabulary.brackets.values())
    bare = {
        m for m, place in pack.vocabulary.brackets.items() if begins[place.begin] > 1 and m in pack.outputs
    }
    if any(pack.outputs[modality].path != "signals" for modality in bare):
        raise Precondition("two outputs share their brackets", reason="PACK_MISMATCH", field="vocabulary")
    return frozenset(bare)


class Grammar:
    """The state of one answer. Ask `choice` for what may come next, tell `advance` what came."""

    def __init__(
        self, rules: Rules, want: Sequence[Modality], budgets: Mapping[Modality, int], room: int
    ) -> None:
        self._rules = rules
        self._allowed = tuple(want) or tuple(rules.outputs)
        self._missing = list(want)
        self._left = dict(budgets)
        self._announcement = ANNOUNCEMENT
        """Tokens left for saying, unheard, what the next span will be."""
        self._room = room
        """Positions left in the context."""
        self._said = False
        self.open: Modality | None = None
        """The modality of the open media span; None within text."""
        self.count = 0
        """Tokens since the opening bracket."""
        self.truncated = False
        """Whether the last span was ended by a limit."""
        self.is_done = False
        self.is_complete = True
        """Whether the answer ended by itself, not by a limit."""
        if not self._text_choice():
            self.is_done, self.is_complete = True, False

    @property
    def hears_text(self) -> bool:
        """Whether text is part of the answer; otherwise it is an announcement."""
        return TEXT in self._allowed

    @property
    def _needed(self) -> int:
        """Positions that the wanted modalities still need at least."""
        return sum(map(self._rules.room, self._missing))

    def choice(self) -> Choice:
        """The ids that may come next; never empty before the answer is done."""
        return self._text_choice() or Choice(()) if self.open is None else self._span_choice(self.open)

    def resolve(self, token: int) -> int:
        """The end of turn, drawn while a wanted span is missing, opens that span instead."""
        media = [m for m in self._missing if m != TEXT]
        if self.open is None and token in self._rules.stops and media:
            return self._rules.begin(media[0])
        return token

    def advance(self, token: int) -> None:
        """Take the token that came. It must be in `choice`."""
        if self.open is not None:
            self._advance_span(self.open, token)
        elif token in self._rules.stops:
            self.is_done = True
            return
        else:
            self._advance_text(token)
        self._room -= 1
        if self.open is None and not self._text_choice():
            self._end()

    def end_text(self) -> int | None:
        """A stop string ended the text: the bracket that must follow, or None where the answer is done."""
        token = self.resolve(self._rules.stops[0])
        if token not in self._rules.stops:
            return token
        self.is_done = self.is_complete = True
        return None

    def _end(self) -> None:
        self.is_done = True
        self.is_complete = self._said and not self.hears_text and not self.truncated

    def _may_write(self) -> bool:
        return self.hears_text and self._left[TEXT] > 0 and self._spare(TEXT) >= 1

    def _may_announce(self) -> bool:
        outputs = self._rules.outputs
        taught = self._missing and all(outputs[modality].announced for modality in self._missing)
        return bool(taught) and self._announcement > 0 and self._spare(TEXT) >= 1

    def _spare(self, modality: Modality) -> int:
        """Positions that spans of this modality may still take, brackets included."""
        own = self._rules.room(modality) if modality in self._missing else 0
        return self._room - self._needed + own

    def _openable(self) -> list[Modality]:
        return [
            modality
            for modality in self._allowed
            if modality != TEXT
            and self._left[modality] >= self._rules.fewest(modality)
            and self._spare(modality) >= self._rules.room(modality)
        ]

    def _text_choice(self) -> Choice | None:
        """None where nothing but the end is left."""
        announces = self._may_announce()
        writes = announces or self._may_write()
        opens = self._openable()
        if announces or (self.hears_text and not writes):
            opens = [modality for modality in opens if modality in self._missing]
        if not opens and not writes:
            return None
        # The end of turn stays a choice while only media are missing: `resolve` opens them at that point.
        may_end = self._said and TEXT not in self._missing
        single = [*map(self._rules.begin, opens), *(self._rules.stops if may_end else ())]
        ranges = (*(self._rules.text if writes else ()), *(range(token, token + 1) for token in single))
        return Choice(tuple(sorted(ranges, key=lambda ids: ids.start)))

    def _span_choice(self, modality: Modality) -> Choice:
        vocabulary, output = self._rules.vocabulary, self._rules.outputs[modality]
        close = self._rules.end(modality)
        closing = range(close, close + 1)
        if output.path == "signals":
            signals = vocabulary.signals[modality]
            token = signals.first + self.count
            return Choice((range(token, token + 1) if self.count < signals.count else closing,))
        codes, marks = vocabulary.codes[modality], vocabulary.marks(modality)
        written, mark = self.count - marks.before(self.count), marks.at(self.count)
        band = codes.band(written) if mark is None else range(mark, mark + 1)
        is_between = written % codes.cycle or marks.at(self.count - 1) is not None
        if is_between or self.count < self._rules.fewest(modality):
            return Choice((band,))
        if not self._may_go_on(modality):
            return Choice((closing,))
        return Choice((band, closing) if band.start < close else (closing, band))

    def _may_go_on(self, modality: Modality) -> bool:
        """Whether a whole further cycle of codes fits, with the time mark that is due."""
        vocabulary, most = self._rules.vocabulary, self._rules.outputs[modality].max_count
        step = vocabulary.codes[modality].cycle + (vocabulary.marks(modality).at(self.count) is not None)
        fits = not most or self.count + step <= vocabulary.span_length(modality, most)
        return fits and self._left[modality] >= step and self._room - self._needed > step

    def _advance_text(self, token: int) -> None:
        modality = self._rules.opened_by(token)
        if modality is None and not self.hears_text:
            self._announcement -= 1
            return
        if modality is None:
            self._left[TEXT] -= 1
            self._made(TEXT)
            return
        self.open, self.count, self.truncated = modality, int(modality in self._rules.bare), False
        self._made(modality)

    def _advance_span(self, modality: Modality, token: int) -> None:
        if token != self._rules.end(modality):
            self.count += 1
            self._left[modality] -= 1
            return
        fixed = self._rules.outputs[modality].has_one_length
        self.truncated = not fixed and not self._may_go_on(modality)
        self.open, self._announcement = None, ANNOUNCEMENT

    def _made(self, modality: Modality) -> None:
        self._said = True
        if modality in self._missing:
            self._missing.remove(modality)
