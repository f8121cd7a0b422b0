"""Ordinary text chat: answered by the base model itself, so that alignment keeps what it knew, and a few own answers.

The base model answers under a system instruction that the learned prompt lacks (context distillation).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch

from services.trainer.data.stored import made_once

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerFast

Answerer = Callable[[list[str]], list[tuple[str, bool]]]
"""Questions -> answers, and whether each came to its end."""
ANSWER_TOKENS = 44
"""An answer that is not over by then is cut, and taught without an end."""

_QUESTIONS = """
What is the capital of {}? : France, Egypt, Canada, India, Greece, Portugal, Norway, Poland, Austria, Sweden, China
What is the capital of {}? : Turkey, Kenya, Peru, Finland, Ireland, Denmark, Hungary, Cuba, Thailand, Chile, Mexico
Which language do people speak in {}? : Brazil, Austria, Egypt, Argentina, Iceland, Belgium, Morocco, Vietnam
What do {} eat? : cows, cats, bears, whales, bees, lions, rabbits, owls, pandas, horses, frogs, snails
Where do {} live? : penguins, camels, polar bears, monkeys, sharks, eagles, foxes, dolphins
How many {}? : continents are there, hours are in a day, legs does an insect have, planets are there
Write one sentence about {}. : the sea, friendship, winter, my garden, a long train ride, coffee, the moon, a knight
Write one sentence about {}. : a violin, a red apple, the rain, music, a happy dog, a photograph, speech, a film
Explain {} in one sentence. : gravity, rain, photosynthesis, democracy, a computer, electricity, inflation, an atom
Explain {}. : how a piano works, what a picture is, why bells ring, how a rocket flies, what a voice is, sound waves
Give me three tips for {}. : sleeping well, learning a language, saving money, cooking rice, a job interview, running
Give me one tip for {}. : taking photographs, playing the guitar, speaking in public, painting, growing herbs
Write a short poem about {}. : autumn, a river, the night sky, my mother, an old house, spring
How do I {}? : boil an egg, tie a tie, clean a window, grow tomatoes, write a letter, learn to swim, fix a flat tyre
How do I {}? : draw a face, tune a guitar, make a film, learn to sing, take better pictures, bake bread, plant a tree
Who was {}? : Albert Einstein, Mozart, Cleopatra, Leonardo da Vinci, Marie Curie, Shakespeare, Isaac Newton
Who wrote {}? : Hamlet, The Odyssey, Don Quixote, Pride and Prejudice, War and Peace, Moby Dick
Who invented {}? : the telephone, the light bulb, the printing press, the airplane, dynamite
Why {}? : is the sky blue, do leaves fall, do we sleep, is the sea salty, do cats purr, do we dream
Why {}? : do birds sing, does ice float, is Mars red, do people like music, do dogs bark, is grass green
What is {}? : a volcano, a symphony, a galaxy, bread made of, history, a novel, the internet, chess
What is {}? : a violin, a rainbow, the speed of sound, a portrait, an orchestra, jazz, an elephant, a poem, a whale
When {}? : did the Titanic sink, was the first moon landing, does winter begin, did the Second World War end
Is {}? : a tomato a fruit, the sun a star, a whale a fish, Pluto a planet, glass a liquid, Rome in Italy
{} : Tell me a fun fact., I am bored., I feel tired today., I had a great day!, Tell me a story., Give me some advice.
{} : Help me plan my day., Recommend a book., What should I cook tonight?, Tell me something nice.
{} : I need a hobby., Tell me about yourself., What should I learn next?, I cannot sleep., It is raining today.
Translate into French: {} : good morning, thank you, where is the station, the house is big, I love you
Correct this sentence: {} : he go to school, she have two cat, I is happy, they was late
Summarise: {} : The meeting was moved to Friday as the manager is ill., It rained so the game was cancelled.
"""

_OWN = """
Hello! = Hello! How can I help you?
Hi there. = Hi! What can I do for you?
Good morning! = Good morning! How can I help you?
How are you? = I am fine, thank you.
Thank you very much. = You are welcome!
Goodbye! = Goodbye! See you soon.
What can you do? = I can talk, draw pictures, make videos, speak, and play music and sounds.
Who are you? = I am an assistant for text, pictures, videos, speech and music.
What is your name? = My name is AnyGPT.
Tell me a joke. = Why did the bicycle fall over? It was two tired.
Are you a person? = No, I am a computer program.
What is two plus two? = Two plus two is four.
What is ten minus three? = Ten minus three is seven.
What is five times six? = Five times six is thirty.
How many days are in a week? = There are seven days in a week.
How many months are in a year? = There are twelve months in a year.
How many legs does a spider have? = A spider has eight legs.
How many minutes are in an hour? = There are sixty minutes in an hour.
What is the opposite of hot? = The opposite of hot is cold.
What is the opposite of big? = The opposite of big is small.
What is the opposite of happy? = The opposite of happy is sad.
What is the opposite of fast? = The opposite of fast is slow.
What is the opposite of old? = The opposite of old is young.
Name a fruit. = An apple is a fruit.
Name a colour. = Blue is a colour.
Name a planet. = Mars is a planet.
Name a season. = Winter is a season.
Name a metal. = Iron is a metal.
Name a musical instrument. = The violin is a musical instrument.
What colour is the sky? = The sky is blue.
What colour is grass? = Grass is green.
What colour is snow? = Snow is white.
Is the earth round? = Yes, the earth is round.
Is gold a metal? = Yes, gold is a metal.
Where does the sun rise? = The sun rises in the east.
What do bees make? = Bees make honey.
What do cows eat? = Cows eat grass.
What is the largest planet? = The largest planet is Jupiter.
What is the capital of Italy? = The capital of Italy is Rome.
What is the capital of Japan? = The capital of Japan is Tokyo.
What is the capital of Spain? = The capital of Spain is Madrid.
What is the capital of Germany? = The capital of Germany is Berlin.
What is the capital of England? = The capital of England is London.
"""
_SYSTEM = "You are a helpful assistant."


@dataclass(frozen=True)
class Exchange:
    """One question with the base model's own answer; `whole` unless the answer was cut."""

    question: str
    answer: str
    whole: bool

    @property
    def is_short(self) -> bool:
        """Short enough to be spoken."""
        return (
            self.whole
            and len(self.answer.split()) <= 14
            and self.answer.isascii()
            and "\n" not in self.answer
        )


def questions() -> list[str]:
    """All plain questions, in a fixed order."""
    found: list[str] = []
    for line in _QUESTIONS.strip().splitlines():
        template, _, slots = line.rpartition(" : ") if line.count(" : ") > 1 else line.partition(" : ")
        separator = "., " if line.startswith("Summarise") else ", "
        found += [template.format(slot) for slot in slots.split(separator)]
    return found


def exchanges(cache: Path, answer: Answerer) -> list[Exchange]:
    """Read the answered questions from the cache; what is missing there is answered first."""

    def answered() -> list[tuple[str, str, bool]]:
        asked = questions()
        replies: dict[str, tuple[str, bool]] = {}
        for batch in _batches(asked, 32):
            replies |= zip(batch, answer(batch), strict=True)
        return [(question, *replies[question]) for question in sorted(asked, key=len)]

    rows = made_once(cache / "data" / "chat.json", list[tuple[str, str, bool]], answered)
    return own_exchanges() + [Exchange(*row) for row in rows]


def own_exchanges() -> list[Exchange]:
    """Greetings and simple facts, with short answers that can also be spoken."""
    pairs = (line.split(" = ") for line in _OWN.strip().splitlines())
    return [Exchange(question, answer, whole=True) for question, answer in pairs]


def _batches(items: list[str], size: int) -> Iterator[list[str]]:
    remaining = iter(sorted(items, key=len))
    while batch := list(islice(remaining, size)):
        yield batch


def greedy(model: Any, tokenizer: PreTrainedTokenizerFast) -> Answerer:
    """A function that answers a batch of questions with the most likely tokens of the plain base model."""

    @torch.inference_mode()
    def answer(batch: list[str]) -> list[tuple[str, bool]]:
        system = f"<|im_start|>system\n{_SYSTEM}<|im_end|>\n"
        prompts = [f"{system}<|im_start|>user\n{text}<|im_end|>\n<|im_start|>assistant\n" for text in batch]
        inputs = tokenizer(prompts, return_tensors="pt", padding=True, padding_side="left").to(model.device)
        ids = model.generate(**inputs, max_new_tokens=ANSWER_TOKENS, do_sample=False)
        replies = ids[:, inputs["input_ids"].shape[1] :]
        stop = tokenizer.convert_tokens_to_ids("<|im_end|>")
        texts = tokenizer.batch_decode(replies, skip_special_tokens=True)
        return [(text, stop in row.tolist()) for text, row in zip(texts, replies, strict=True)]

    return answer
