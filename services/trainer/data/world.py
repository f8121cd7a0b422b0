"""The world of the mini pack: what exists in it, and the one sentence that names each scene.

Literal lists only: every data builder, recipe, probe and alignment text reads its nouns here.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import product

_GROUPS = """
cat 1f431, dog 1f436, mouse 1f42d, hamster 1f439, rabbit 1f430, fox 1f98a, bear 1f43b, panda 1f43c
koala 1f428, tiger 1f42f, lion 1f981, cow 1f42e, pig 1f437, frog 1f438, monkey 1f435, wolf 1f43a
raccoon 1f99d, boar 1f417, horse 1f434, unicorn 1f984, moose 1face, dragon 1f432, chick 1f424, gorilla 1f98d
elephant 1f418, giraffe 1f992, zebra 1f993, camel 1f42a, llama 1f999, kangaroo 1f998, rhinoceros 1f98f
hippopotamus 1f99b, mammoth 1f9a3, deer 1f98c, goat 1f410, ram 1f40f, sheep 1f411, donkey 1facf, bison 1f9ac
sloth 1f9a5, otter 1f9a6, skunk 1f9a8, badger 1f9a1, beaver 1f9ab, hedgehog 1f994, bat 1f987, squirrel 1f43f
leopard 1f406, poodle 1f429, turkey 1f983, chicken 1f414, rooster 1f413, bird 1f426, penguin 1f427, dove 1f54a
eagle 1f985, duck 1f986, swan 1f9a2, owl 1f989, flamingo 1f9a9, peacock 1f99a, parrot 1f99c, goose 1fabf
crocodile 1f40a, turtle 1f422, lizard 1f98e, snake 1f40d, dinosaur 1f995, whale 1f433, dolphin 1f42c, seal 1f9ad
fish 1f41f, shark 1f988, octopus 1f419, shell 1f41a, jellyfish 1fabc, crab 1f980, lobster 1f99e, shrimp 1f990
squid 1f991, snail 1f40c, butterfly 1f98b, ant 1f41c, bee 1f41d, beetle 1fab2, ladybug 1f41e, spider 1f577
scorpion 1f982, mosquito 1f99f, worm 1fab1

rose 1f339, sunflower 1f33b, tulip 1f337, bouquet 1f490, hibiscus 1f33a, lotus 1fab7, tree 1f333, pine tree 1f332
palm tree 1f334, cactus 1f335, clover 1f340, maple leaf 1f341, mushroom 1f344, seedling 1f331

apple 1f34e, green apple 1f34f, pear 1f350, peach 1f351, orange 1f34a, lemon 1f34b, banana 1f34c, pineapple 1f34d
mango 1f96d, grapes 1f347, melon 1f348, watermelon 1f349, cherry 1f352, strawberry 1f353, blueberry 1fad0
kiwi 1f95d, tomato 1f345, olive 1fad2, coconut 1f965, avocado 1f951, eggplant 1f346, potato 1f954, carrot 1f955
corn cob 1f33d, chili pepper 1f336, bell pepper 1fad1, cucumber 1f952, broccoli 1f966, garlic 1f9c4, onion 1f9c5
peanut 1f95c, chestnut 1f330, loaf of bread 1f35e, croissant 1f950, baguette 1f956, pretzel 1f968, bagel 1f96f
pancake 1f95e, waffle 1f9c7, cheese 1f9c0, steak 1f969, hamburger 1f354, pizza 1f355, hot dog 1f32d
sandwich 1f96a, taco 1f32e, burrito 1f32f, egg 1f95a, fried egg 1f373, salad 1f957, popcorn 1f37f, rice ball 1f359
sushi 1f363, dumpling 1f95f, ice cream 1f368, doughnut 1f369, cookie 1f36a, birthday cake 1f382, cupcake 1f9c1
pie 1f967, chocolate bar 1f36b, candy 1f36c, lollipop 1f36d, honey pot 1f36f, baby bottle 1f37c, glass of milk 1f95b
cup of coffee 2615, teapot 1fad6, wine glass 1f377, cocktail 1f378, beer mug 1f37a, ice cube 1f9ca

mountain 1f3d4, volcano 1f30b, island 1f3dd, house 1f3e0, hospital 1f3e5, school 1f3eb, factory 1f3ed, castle 1f3f0
church 26ea, mosque 1f54c, fountain 26f2, tent 26fa, ferris wheel 1f3a1, globe 1f30d

train 1f686, locomotive 1f682, bus 1f68c, ambulance 1f691, fire engine 1f692, police car 1f693, taxi 1f695
car 1f697, pickup truck 1f6fb, truck 1f69a, tractor 1f69c, racing car 1f3ce, motorcycle 1f3cd, scooter 1f6f5
bicycle 1f6b2, skateboard 1f6f9, roller skate 1f6fc, wheel 1f6de, traffic light 1f6a6, stop sign 1f6d1, anchor 2693
sailboat 26f5, canoe 1f6f6, speedboat 1f6a4, ship 1f6a2, airplane 2708, parachute 1fa82, helicopter 1f681
satellite 1f6f0, rocket 1f680, flying saucer 1f6f8

sun 2600, moon 1f319, full moon 1f315, star 2b50, planet 1fa90, cloud 2601, rain cloud 1f327, thunderstorm 26c8
rainbow 1f308, umbrella 2602, snowflake 2744, snowman 26c4, lightning bolt 26a1, fire 1f525, drop of water 1f4a7
wave 1f30a, tornado 1f32a

soccer ball 26bd, baseball 26be, basketball 1f3c0, volleyball 1f3d0, football 1f3c8, tennis ball 1f3be
bowling ball 1f3b3, table tennis bat 1f3d3, boxing glove 1f94a, ice skate 26f8, sled 1f6f7, kite 1fa81
trophy 1f3c6, medal 1f3c5, pool ball 1f3b1, game controller 1f3ae, teddy bear 1f9f8, balloon 1f388, gift 1f381
pumpkin 1f383, christmas tree 1f384, puzzle piece 1f9e9

guitar 1f3b8, violin 1f3bb, trumpet 1f3ba, saxophone 1f3b7, piano 1f3b9, drum 1f941, banjo 1fa95, accordion 1fa97
flute 1fa88, microphone 1f3a4, headphone 1f3a7, radio 1f4fb, bell 1f514, musical note 1f3b5

shirt 1f455, dress 1f457, scarf 1f9e3, coat 1f9e5, sock 1f9e6, shoe 1f45f, boot 1f97e, hat 1f452, top hat 1f3a9
cap 1f9e2, crown 1f451, handbag 1f45c, backpack 1f392, necktie 1f454, ring 1f48d, diamond 1f48e, sunglasses 1f576

telephone 260e, mobile phone 1f4f1, laptop 1f4bb, television 1f4fa, camera 1f4f7, candle 1f56f, light bulb 1f4a1
book 1f4d5, newspaper 1f4f0, coin 1fa99, envelope 2709, pencil 270f, pair of scissors 2702, lock 1f512, key 1f511
hammer 1f528, axe 1fa93, sword 1f5e1, bomb 1f4a3, shield 1f6e1, gear 2699, magnet 1f9f2, telescope 1f52d
microscope 1f52c, syringe 1f489, pill 1f48a, door 1f6aa, bed 1f6cf, chair 1fa91, bathtub 1f6c1, broom 1f9f9
alarm clock 23f0, hourglass 231b, watch 231a, heart 2764, robot 1f916, ghost 1f47b, alien 1f47d, skull 1f480
clown 1f921
"""


def _objects(groups: str) -> dict[str, str]:
    entries = [entry.strip() for line in groups.splitlines() for entry in line.split(",") if entry.strip()]
    return {entry[: entry.rindex(" ")]: entry[entry.rindex(" ") + 1 :] for entry in entries}


OBJECTS: dict[str, str] = _objects(_GROUPS)
"""Name of a thing -> code point of its picture."""

EMOTIONS: dict[str, tuple[str, ...]] = {
    "happy": ("1f600", "1f603", "1f604", "1f601", "1f60a", "1f642", "1f606", "1f970"),
    "sad": ("1f622", "1f62d", "1f61e", "1f641", "1f614", "1f625", "1f97a"),
    "angry": ("1f621", "1f620", "1f92c", "1f624", "1f47f"),
    "surprised": ("1f62e", "1f632", "1f62f", "1f92f", "1f633"),
    "scared": ("1f631", "1f628", "1f630", "1f627", "1f626"),
    "calm": ("1f60c", "1f634", "1f610", "1f611", "1f607"),
}
"""Emotion -> code points of faces that show it, the plainest first."""

COLOURS: dict[str, tuple[int, int, int]] = {
    "white": (255, 255, 255),
    "red": (220, 50, 47),
    "orange": (245, 140, 30),
    "yellow": (250, 220, 70),
    "green": (70, 170, 80),
    "blue": (60, 110, 220),
    "purple": (140, 80, 190),
    "pink": (250, 160, 195),
    "grey": (128, 128, 128),
}
"""Background -> sRGB, 0..255."""

MOTIONS: dict[str, str] = {
    "left": "moving left",
    "right": "moving right",
    "up": "rising",
    "bounce": "bouncing",
    "grow": "growing",
    "spin": "spinning",
}
"""Motion -> the words that describe it in a caption."""

INSTRUMENTS: dict[str, int] = {
    "piano": 0,
    "xylophone": 13,
    "organ": 19,
    "accordion": 21,
    "guitar": 24,
    "violin": 40,
    "cello": 42,
    "harp": 46,
    "trumpet": 56,
    "saxophone": 65,
    "flute": 73,
    "banjo": 105,
}
"""Instrument -> General MIDI program, from 0."""

MOODS: dict[str, tuple[str, int]] = {
    "happy": ("major", 188),
    "sad": ("minor", 62),
    "calm": ("major", 62),
    "tense": ("minor", 188),
}
"""Mood -> mode and beats per minute."""

MOOD_OF_EMOTION: dict[str, str] = {
    "happy": "happy",
    "sad": "sad",
    "angry": "tense",
    "surprised": "happy",
    "scared": "tense",
    "calm": "calm",
}
"""Which music a face calls for."""

SOUNDS: tuple[str, ...] = ("rain", "bell", "siren", "beep", "knock", "wave", "wind", "clock")


@dataclass(frozen=True)
class Scene:
    """What a picture or a clip shows; motion is empty in a still picture."""

    kind: str
    colour: str
    motion: str = ""


def kinds() -> list[str]:
    """Every thing that can be asked for: the objects, then `<emotion> face`; the index is its class label."""
    return [*OBJECTS, *(f"{emotion} face" for emotion in EMOTIONS)]


def code_points(kind: str) -> tuple[str, ...]:
    """Pictures of a kind, the plainest first."""
    if kind in OBJECTS:
        return (OBJECTS[kind],)
    return EMOTIONS[kind.removesuffix(" face")]


def emotion_of(kind: str) -> str:
    """The emotion that a kind shows, or the empty string."""
    return kind.removesuffix(" face") if kind not in OBJECTS else ""


def scenes() -> list[Scene]:
    """Every still scene: kind x colour."""
    return [Scene(kind, colour) for kind, colour in product(kinds(), COLOURS)]


def moving_scenes() -> list[Scene]:
    """Every moving scene: kind x colour x motion."""
    return [Scene(kind, colour, motion) for kind, colour, motion in product(kinds(), COLOURS, MOTIONS)]


def caption(scene: Scene) -> str:
    """The canonical caption of a scene, such as `a cat moving left on a blue background`."""
    motion = f" {MOTIONS[scene.motion]}" if scene.motion else ""
    return f"{with_article(scene.kind)}{motion} on {with_article(scene.colour)} background"


def music_caption(instrument: str, mood: str) -> str:
    """The canonical caption of a piece of music, such as `happy piano music`."""
    return f"{mood} {instrument} music"


def sound_caption(sound: str) -> str:
    """The canonical caption of a sound, such as `the sound of rain`."""
    return f"the sound of {_SOUND_PHRASES.get(sound, sound)}"


_SOUND_PHRASES = {
    "bell": "a bell",
    "siren": "a siren",
    "beep": "a beep",
    "knock": "a knock",
    "wave": "waves",
    "clock": "a clock",
}

_BARE = {"grapes", "sunglasses", "popcorn", "sushi", "garlic", "cheese", "fire"}
_VOWEL_SOUND = ("a", "e", "i", "o", "umbrella", "hourglass")


def with_article(noun: str) -> str:
    """The noun after its indefinite article; plurals and mass nouns stand alone."""
    if noun in _BARE:
        return noun
    return f"an {noun}" if noun.startswith(_VOWEL_SOUND) else f"a {noun}"
