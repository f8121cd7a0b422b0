"""What dialogues are about: a subject of the world, and what it is wanted for; held out by topic."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

_SUBJECTS = """
pets: cat, dog, mouse, hamster, rabbit, parrot, horse
wild animals: fox, bear, tiger, lion, wolf, monkey, gorilla, leopard
savannah animals: elephant, giraffe, zebra, camel, rhinoceros, hippopotamus
farm animals: cow, pig, goat, sheep, donkey, chicken, rooster, turkey
birds: bird, penguin, dove, eagle, duck, swan, owl, flamingo, peacock
sea animals: whale, dolphin, seal, fish, shark, octopus, crab, lobster, squid
small animals: snail, butterfly, ant, bee, beetle, ladybug, spider, worm
plants: rose, sunflower, tulip, tree, pine tree, palm tree, cactus, mushroom
fruit: apple, pear, peach, orange, lemon, banana, pineapple, strawberry, cherry
vegetables: tomato, carrot, potato, cucumber, broccoli, garlic, onion, eggplant
meals: hamburger, pizza, hot dog, sandwich, taco, sushi, salad, fried egg
sweets: ice cream, doughnut, cookie, birthday cake, cupcake, candy, lollipop, pie
places: mountain, volcano, island, house, hospital, school, castle, tent
vehicles: train, bus, ambulance, fire engine, taxi, truck, tractor, motorcycle
travel: sailboat, ship, airplane, helicopter, rocket, parachute, bicycle
weather: sun, moon, star, cloud, rain cloud, rainbow, snowman, lightning bolt
sports: soccer ball, baseball, basketball, tennis ball, football, trophy, kite
instruments: guitar, violin, trumpet, saxophone, piano, drum, banjo, flute
clothes: shirt, dress, scarf, coat, shoe, hat, crown, necktie
things at home: telephone, laptop, camera, candle, book, key, chair, bed, broom
feelings: happy face, sad face, angry face, surprised face, scared face, calm face
"""
_PURPOSES = (
    "a story for children", "a birthday card", "a lesson at school", "a music video", "a quiz", "a poster",
)  # fmt: skip
_HELD_OUT_EVERY = 9
"""One topic in so many is never trained on."""


@dataclass(frozen=True)
class Topic:
    """A subject with its things, and a purpose."""

    subject: str
    purpose: str
    kinds: tuple[str, ...]
    split: str

    @property
    def name(self) -> str:
        """As records keep it."""
        return f"{self.subject}: {self.purpose}"


def subjects() -> Mapping[str, tuple[str, ...]]:
    """Subjects and the things of the world that belong to them."""
    rows = (line.split(": ") for line in _SUBJECTS.strip().splitlines())
    return {name: tuple(kinds.split(", ")) for name, kinds in rows}


def topics(split: str) -> list[Topic]:
    """The topics of a split."""
    pairs = [(subject, kinds, purpose) for subject, kinds in subjects().items() for purpose in _PURPOSES]
    found = []
    for place, (subject, kinds, purpose) in enumerate(pairs):
        held_out = place % _HELD_OUT_EVERY == _HELD_OUT_EVERY - 1
        found.append(Topic(subject, purpose, kinds, "held_out" if held_out else "train"))
    return [topic for topic in found if topic.split == split]
