"""Short English sentences for speech: a small grammar over everyday words and the mini pack's world.

Held-out sentences come from the same grammar, never equal to one that is trained on.
"""

from __future__ import annotations

import random
import re
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from anygpt_models.speech_text import cardinal, ordinal, spoken
from services.trainer.data import world

_GRAMMAR = """
command: draw {thing} on {colour} background | draw {thing} | please draw {thing} on {colour} background
command: show me {thing} on {colour} background | paint {thing} with {colour} background | show me a picture of {thing}
command: make a picture of {thing} | can you draw {thing} on {colour} background | i want to see {thing}
command: play {music} | play some {music} please | can you play {music} | i would like to hear {music}
command: make {music} for me | compose {music} | play a {mood} song on the {instrument} | i want {music}
command: make a video of {thing} {motion} | show me {thing} {motion} on {colour} background
command: make a clip of {thing} {motion} | animate {thing} {motion} | play {sound} | make {sound} | let me hear {sound}
command: say that aloud | now say that aloud | read it to me | say it again please | tell me about the {noun}
command: what is in this picture | what do you see here | what do you hear | what did i say | describe this image
command: what kind of music is this | turn this picture into music | play music that fits this face
command: what happens in this video | say {short} | read this aloud: {short} | now make it {colouradj}
command: make it {adj} | now draw it on {colour} background | do that again with {thing} | tell me a story about {thing}
answer: this is {thing} on {colour} background | i see {thing} on {colour} background | here is {thing}
answer: this is {music} | i hear {music} | this is {sound} | here is {music} for you | it sounds like {sound}
answer: the picture shows {thing} | the video shows {thing} {motion} | you said {short} | this face looks {emotion}
answer: this is a {emotion} face | here is your picture of {thing} | there is {thing} and {thing} in it
answer: it is {thing} {motion} on {colour} background | sure here it is | of course here you are
answer: i am sorry i cannot do that | i made {music} for you | the person in it seems {emotion}
number: there are {count} {nouns} in the {place} | i have {count} {nouns} | it costs {count} dollars
number: the answer is {count} | {count} and {count} is {count} | she is {count} years old | we need {count} more {nouns}
number: it is {hour} o'clock | the train leaves at {hour} {minute} | today is the {rank} of {month}
number: he lives at number {count} | the {rank} {noun} is {colouradj}
number: it happened in {year} | call me at {hour} {minute}
talk: hello how are you today | good morning my friend | good evening everyone | nice to meet you
talk: my name is {name} | i am fine thank you | thank you very much | you are welcome | see you {time}
talk: how was your {time} | what is your name | where do you live | i come from {country} | do you like {nouns}
talk: i don't know what you mean | that's a good idea | it's a {adj} day today | let's go to the {place} {time}
talk: what time is it now | can you help me with my {noun} | could you please say that again | have a {adj} weekend
talk: i'm going to the {place} with {name} | where is the {place} | who is that {person} | why are you so {feeling}
talk: i think you're right about the {noun} | we'll see about that {time} | that isn't what i wanted
talk: yes i would love to | no thank you i am not hungry | it doesn't matter | don't worry about the {noun}
talk: excuse me where can i find the {place} | what would you like to {verb} | i can't {verb} the {noun}
plain: the {adj} {person} {past} the {noun} | the {person} {past} a {adj} {noun} in the {place}
plain: {pronoun} {past} the {noun} {prep} the {place} | {name} {past} the {adj} {noun} {time}
plain: the {noun} in the {place} is {colouradj} | the {adj} {noun} is {prep} the {noun} | my {family} {past} a {noun}
plain: {pronoun} will {verb} the {noun} {time} | {pronoun} should {verb} more {nouns} | we {verb} {nouns} every day
plain: the {nouns} are very {adj} | these {nouns} look {adj} and {adj} | {pronoun} was {feeling} about the {noun}
plain: there was a {adj} {noun} near the {place}
plain: when the {noun} is {adj} we {verb} it | {pronoun} never {past} that {noun}
plain: if you {verb} the {noun} then i will {verb} it too | because of the {noun} the {person} was {feeling}
plain: {name} and {name} want to {verb} their {nouns} | a {thingname} is not a {thingname} | the {thingname} was {adj}
plain: the {weather} will be {adj} {time}
plain: it will {weatherverb} in the {place} {time} | {adverb} the {person} {past} it
plain: most {nouns} are {adj} but this one is {adj} | his {family} always {past} {nouns} {prep} the {place}
"""

_WORDS = """
noun: book house car door window table chair phone letter story game song movie picture paper question answer word
noun: money bag box key clock bottle cup plate knife spoon bread cake soup dinner breakfast lunch garden flower tree
noun: river road bridge street problem idea plan job project meeting lesson test mistake dream secret promise gift
noun: shirt coat shoe hat ring watch light lamp fire stone wall floor roof bed pillow blanket mirror computer screen
noun: camera radio program machine engine wheel tool hammer rope boat ship train plane ticket map journey holiday
noun: party wedding birthday present team goal ball race prize number page sentence language voice sound noise smell
noun: heart hand head eye ear nose mouth tooth finger foot leg arm body health medicine chance reason rule law
noun: price bill coin business company market product service message report news paint brush colour shape line circle
place: kitchen garden school park city village forest station airport hotel restaurant library museum office hospital
place: beach mountain lake church market shop bank farm castle street house bathroom bedroom theatre world country room
person: man woman boy girl child teacher doctor nurse farmer driver student king queen artist singer writer worker
person: police officer cook dancer neighbour stranger baby friend boss lawyer soldier pilot captain painter guest
family: mother father sister brother uncle aunt grandmother grandfather son daughter cousin wife husband friend
adj: big small old new good bad long short high low hot cold warm cool dark bright heavy light strong weak fast slow
adj: easy hard soft loud quiet clean dirty full empty rich poor young beautiful ugly strange funny nice sweet bitter
adj: sharp round flat deep wide narrow thick thin wet dry fresh simple difficult important famous expensive cheap free
adj: safe dangerous early late ready busy perfect wonderful terrible lovely different similar special common modern
feeling: happy sad angry tired hungry thirsty afraid surprised worried proud calm nervous excited bored lonely sure
verb: find take give make buy sell bring carry open close break fix build clean wash cook eat drink read write draw
verb: paint see hear watch feel touch hold push pull throw catch keep lose remember forget learn teach study change
verb: move stop start finish choose use need want love like hate help follow lead visit leave enter count measure sing
past: found took gave made bought sold brought carried opened closed broke fixed built cleaned washed cooked ate
past: drank read wrote drew painted saw heard watched felt touched held pushed pulled threw caught kept lost
past: remembered forgot learned taught changed moved stopped started finished chose used needed wanted loved liked
past: helped followed visited left entered counted covered dropped lifted turned shared sent got stole hid
prep: in near behind under above beside outside inside across from through around before after against without
time: today, tomorrow, tonight, yesterday, now, later
time: soon, again, this morning, this afternoon, this evening, next week
time: last night, last summer, next year, on monday, on tuesday, on wednesday, on thursday, on friday, on saturday
time: on sunday, in the morning, in the evening, after school, before dinner, at noon, at midnight, all day
name: tom anna peter mary john sarah david emma james lucy michael julia robert alice daniel sophie ben kate max laura
country: england france spain germany italy china japan india canada brazil egypt america australia africa europe
month: january february march april may june july august september october november december
pronoun: i you he she we they it everyone someone nobody
colouradj: red blue green yellow white black brown orange purple pink grey golden silver
weather: weather wind storm sky sun rain snow winter summer spring autumn
weatherverb: rain snow freeze
adverb: suddenly finally slowly quickly usually sometimes often luckily sadly clearly maybe perhaps actually
short: hello world, good morning, thank you, the cat is happy, see you soon, well done, i love music, happy birthday
short: good night, welcome home, yes please, no problem, never mind, how are you, one two three, come here
"""

TYPICAL_RANK = 900
"""The mean rank, by frequency, of a word in a row."""
_SLOT = re.compile(r"{(\w+)}")


@dataclass(frozen=True)
class Corpus:
    """Normalised sentences, apart for learning and for judging."""

    train: list[str]
    held_out: list[str]


def build_sentences(common: Sequence[str], train: int = 5000, held_out: int = 240, seed: int = 11) -> Corpus:
    """Build the corpus; `common` are frequent words, the first the most frequent, for rows of plain words."""
    writer = _Writer(random.Random(seed), common)
    found: dict[str, None] = {}
    while len(found) < train + held_out:
        sentence = spoken(writer.sentence())
        if 2 <= len(sentence.split()) <= 14:
            found[sentence] = None
    sentences = list(found)
    # Fixed phrases come first out of any grammar, so a random split would hold none of them back unseen.
    writer.choice.shuffle(sentences)
    return Corpus(sorted(sentences[held_out:]), sorted(sentences[:held_out]))


def row(choice: random.Random, words: Sequence[str], lengths: tuple[int, int]) -> str:
    """Words, the most frequent of them first, drawn by their rank and without a sense; as many as `lengths` allow."""
    count = choice.randint(*lengths)
    return " ".join(
        words[min(int(choice.expovariate(1 / TYPICAL_RANK)), len(words) - 1)] for _ in range(count)
    )


def word_rows(words: Sequence[str], rounds: int, length: int = 6, seed: int = 12) -> list[str]:
    """Rows in which every word comes once a round."""
    choice, rows = random.Random(seed), list[str]()
    for _ in range(rounds):
        drawn = choice.sample(words, len(words))
        rows += [" ".join(drawn[start : start + length]) for start in range(0, len(drawn), length)]
    return rows


def word_counts(sentences: Iterable[str], common: Sequence[str]) -> Counter[str]:
    """Word weights for learning units: the sentences, the world's names, and the common words by rank (Zipf)."""
    counts: Counter[str] = Counter(word for sentence in sentences for word in sentence.split())
    for rank, word in enumerate(common):
        counts[word] += 20_000 // (rank + 20) + 1
    for name in (*world.kinds(), *world.COLOURS, *world.INSTRUMENTS, *world.MOODS, *world.SOUNDS):
        counts.update(dict.fromkeys(name.split(), 40))
    return counts


class _Writer:
    """Expands the grammar at random."""

    def __init__(self, choice: random.Random, common: Sequence[str]) -> None:
        self.choice = choice
        self._common = common
        self._rules = _entries(_GRAMMAR, "|")
        self._words = _vocabulary()

    def sentence(self) -> str:
        kind = self.choice.choices(
            ("command", "answer", "number", "talk", "plain", "row"), (28, 14, 10, 12, 18, 18)
        )[0]
        if kind == "row":
            return row(self.choice, self._common, (4, 9))
        return self._expand(self.choice.choice(self._rules[kind]))

    def _expand(self, rule: str) -> str:
        return _SLOT.sub(lambda slot: self._fill(slot.group(1)), rule)

    def _fill(self, slot: str) -> str:
        draw = self.choice
        match slot:
            case "nouns":
                return _plural(draw.choice(self._words["noun"]))
            case "music":
                return world.music_caption(
                    draw.choice(list(world.INSTRUMENTS)), draw.choice(list(world.MOODS))
                )
            case "count" | "rank" | "hour" | "minute" | "year":
                return self._number(slot)
            case _:
                return draw.choice(self._words[slot])

    def _number(self, slot: str) -> str:
        if slot == "count":
            return cardinal(self.choice.choice((self.choice.randint(0, 20), self.choice.randint(21, 2000))))
        low, high = {"rank": (1, 31), "hour": (1, 12), "minute": (10, 59), "year": (1900, 2030)}[slot]
        number = self.choice.randint(low, high)
        if slot == "year":
            return str(number)
        return ordinal(number) if slot == "rank" else cardinal(number)


def _vocabulary() -> dict[str, list[str]]:
    words: dict[str, list[str]] = {}
    for slot, entries in _entries(_WORDS, ",").items():
        phrases = slot in ("short", "time")
        words[slot] = entries if phrases else [word for entry in entries for word in entry.split()]
    words |= {
        "motion": list(world.MOTIONS.values()),
        "emotion": list(world.EMOTIONS),
        "mood": list(world.MOODS),
    }
    words |= {"instrument": list(world.INSTRUMENTS), "thingname": list(world.OBJECTS)}
    words |= {"thing": [world.with_article(kind) for kind in world.kinds()]}
    words |= {"colour": [world.with_article(colour) for colour in world.COLOURS]}
    return words | {"sound": [world.sound_caption(sound) for sound in world.SOUNDS]}


def _entries(table: str, separator: str) -> dict[str, list[str]]:
    entries: dict[str, list[str]] = {}
    for line in table.strip().splitlines():
        name, _, rest = line.partition(": ")
        entries.setdefault(name, []).extend(entry.strip() for entry in rest.split(separator))
    return entries


def _plural(noun: str) -> str:
    if noun.endswith(("s", "sh", "ch", "x")):
        return f"{noun}es"
    if noun.endswith("y") and noun[-2] not in "aeiou":
        return f"{noun[:-1]}ies"
    return {"knife": "knives", "tooth": "teeth", "foot": "feet"}.get(noun, f"{noun}s")
