"""How people ask for things: many wordings of each request, a sixth of them kept for judging.

`{x}` is the thing asked for, `{y}` a second one, `{s}` a sentence, `{c}` a colour.
"""

from __future__ import annotations

from functools import cache

_TABLE = """
image: draw {x} | draw me {x} | please draw {x} | show me {x} | show me a picture of {x} | a picture of {x}
image: i want to see {x} | can you draw {x}? | could you paint {x}, please? | paint {x} | make an image of {x}
image: make a picture of {x} for me | i'd like a picture of {x} | generate an image of {x} | sketch {x}
image: i need an illustration of {x} | may i see {x}? | create a picture that shows {x}
image: an image of {x}, please
image: would you draw {x} for me? | let me see {x} | {x} | a drawing of {x} | give me a photo of {x}
image: picture: {x}
image: what does {x} look like? | can i have a picture of {x}? | imagine {x} and draw it | {x} please
image: depict {x}

video: make a video of {x} | a video of {x} | show me a video of {x} | film {x} | please make a clip of {x}
video: i want to see a video of {x} | can you make a short film of {x}? | a clip of {x}
video: generate a video of {x}
video: could you show me a clip of {x}? | i'd like an animation of {x} | animate {x} | record {x}
video: a movie of {x}
video: create an animation that shows {x} | video: {x} | give me a video with {x} | let me watch {x}
video: {x}, as a video

moving: show me {x} | i want to see {x} | {x} | can you show {x}? | let me see {x} | please show me {x}
moving: make {x}

music: play {x} | play some {x} | please play {x} | i would like to hear {x} | compose {x} | make {x} for me
music: can you play {x}? | i want {x} | some {x}, please | could you compose {x}? | let me hear {x} | {x}
music: generate {x} | write {x} for my film | give me {x} | i'm in the mood for {x} | put on {x}
music: a piece of {x}
music: {x} please | just {x} | {x} for my party | how about {x}? | {x}, now

sound: play {x} | let me hear {x} | make {x} | i want to hear {x} | can you make {x}? | {x} | please play {x}
sound: could i hear {x}? | generate {x} | give me {x} | record {x} for me | i'd like {x}
sound: {x} please | just {x} | how about {x}? | a recording of {x} | {x}, now

speak: say: {s} | say {s} | read this aloud: {s} | please say {s} | speak these words: {s} | say this aloud: {s}
speak: can you say {s}? | read the text aloud: {s} | pronounce this: {s} | tell me in your voice: {s}
speak: voice: {s}
speak: i want to hear you say {s} | read out: {s} | turn this into speech: {s} | please read the given text: {s}

reply_aloud: answer aloud: {s} | {s} answer with your voice | tell me aloud: {s} | {s} please say it aloud
reply_aloud: speak your answer: {s} | {s} i want to hear the answer | reply in speech: {s}
reply_aloud: {s} let me hear it | {s} read the answer to me | {s} say it so that i can listen
reply_aloud: {s} i would rather listen than read | {s} tell me with your voice | use your voice: {s}
reply_aloud: out loud, please: {s} | {s} i would like to hear your reply | {s} talk to me
reply_aloud: {s} i am driving, so read it out | {s} let me listen to your answer | {s} i want to listen to it
reply_aloud: {s} i cannot read now, so speak | i want to hear this from you: {s} | let me hear what you say: {s}
reply_aloud: {s} something to listen to, please

name_image: what is this? | what do you see? | what is in the picture? | describe this image
name_image: what does the picture show?
name_image: describe the picture briefly | what's in this image? | caption this | tell me what you see
name_image: what is shown here?
name_image: give me a caption for this picture | what do we have here? | look at this, what is it?
name_image: name what you see

name_video: what happens here? | what happens in this video? | describe the video | what do you see in the clip?
name_video: describe this clip briefly | what is in the video? | what does the video show? | caption this video

name_audio: what do you hear? | what is this sound? | describe what you hear | what kind of music is this?
name_audio: describe this audio | what am i listening to? | listen and tell me what it is | what is playing?

name_aloud: say what you see | tell me aloud what this is | describe this aloud | say what it is
name_aloud: describe it with your voice
name_aloud: i cannot see, please tell me aloud what this is | speak: what is this?

hear_aloud: say what you hear | tell me aloud what this is | describe the sound aloud | say what is playing

colour: what colour is the background? | which colour is behind it? | what is the background colour?
feeling: how does this person feel? | what emotion is this? | which feeling does this face show?
feeling: is this person happy?
motion: how does it move? | what does it do? | which way does it move?
mood: what mood is it? | how does this music feel? | is this happy or sad music?
player: which instrument is this? | what instrument do you hear? | who plays here?

to_music: make music for this | turn this into music | play music that fits this | compose music of its mood
to_music: what does this sound like? | play something that fits the picture | make music of its mood
to_music: let me hear this
to_music: i want music that feels like this | give it a sound track | play something that goes with it
to_music: write music that suits it | play something for this picture | play something for this clip
to_music: a melody for this, please | put music under it | which music goes with this?
to_music: add a tune to it | play a tune that suits this | play what you see | let me hear music for this

recolour: the same on {c} | now on {c} | draw it on a {c} background | make the background {c}
recolour: the same with a {c} background
recolour: put it on a {c} background | change the background to {c}
recolour: can you draw this again on a {c} background?

again: draw this again | another picture of this, please | copy this picture | make the same picture
again: one more like this

animate: animate it | make it move | turn this into a video | bring it to life | a video of this, please
animate: let it move
animate: can you animate this? | make a clip of it | now as a video

move: make it {x} | let it {x} | now let it {x} | can you make it {x}? | i want it to {x} | it should {x}

still: make a picture of this | a still picture, please | draw what is in the video | show it as an image
still: just a picture of it
draw_sound: draw what you hear | show me a picture of what you hear | paint this sound
draw_sound: which picture fits this?
draw_sound: draw the instrument | make an image of it | show me what makes this sound
draw_mood: show a face that fits this music | draw the face of this mood | which face fits this music?
draw_mood: draw its emotion
film_sound: make a video for this | a video of what you hear | film what you hear | show it as a video
film_sound: make a clip that fits
film_sound: make a film of this sound | film this sound | turn this sound into a clip | film what is playing
film_sound: i want to watch what you hear | a clip of what makes this sound
other_player: the same on {x} | now with {x} | play it on {x} | can i hear it with {x}? | use {x} instead
other_mood: make it {x} | play it {x} | now {x}, please | the same but {x} | can it be {x}?
sound_again: play it again | once more | repeat this music | the same again, please | play that again

transcribe: what did i say? | write down what i said | transcribe this | please transcribe the given speech
transcribe: write this as text
transcribe: what is being said? | type what you hear | what does the speaker say? | put this into writing
repeat: repeat this | say it again | repeat after me | say the same | say that again, please

ask: {s} | please answer: {s} | i have a question: {s} | tell me: {s} | hello! {s} | one more question: {s}
ask: can you help me? {s} | i am curious. {s} | {s} please keep it short | let us talk. {s} | another thing: {s}
ask: here is what i want to know: {s} | {s} i would like to read about it | {s} thanks | something else: {s}
ask: {s} i want to read the reply | {s} in writing, please

aloud: now say that aloud | say that aloud | read it to me | can you say that? | read that aloud
aloud: say it with your voice
aloud: tell me that aloud, please | speak your last answer | now read it out
what_stands: what is {x}? | what do you see {x}? | which thing is {x}? | what's {x}? | {x}: what is it?
what_stands: tell me what is {x} | name the thing {x} | and {x}? | what stands {x}? | what is there {x}?
what_stands: can you tell me what is {x}?
how_many: how many things are there? | how many things do you see? | count the things
how_many: how many things are in the picture? | how many objects? | what is the number of things?
how_many: how many things can you see? | please count what is in the picture | how many are there?

recall: what was in the picture? | what did you draw? | what was it again? | what did the picture show?
recall_audio: what was that? | what did you play? | what was that sound? | what did i hear?
swap: now {x} | and now {x} | {x} instead | do the same with {x} | how about {x}? | this time {x}
write: write that down | as text, please | show me the words | what did you say?
thanks: thank you | great, thanks! | nice | well done | wonderful, thank you very much

and_speak: draw {x} and say what it is | show me {x} and name it aloud
and_speak: a picture of {x} and tell me aloud what it is
and_music: draw {x} and play {y} | show me {x} and play {y} | a picture of {x} with {y}
and_music: {x}, and {y} to go with it
and_video: draw {x} and animate it | a picture and a video of {x} | show me {x}, first still, then moving
video_music: a video of {x} with {y} | make a clip of {x} and play {y} | film {x} and add {y}
speak_music: say {s} and play {y} | say {s}, then play {y} | read this aloud: {s}. then play {y}
music_speak: play {y} and say what it is | play {y} and tell me aloud what it is
two_images: draw {x} and {y} in two pictures | first draw {x}, then {y} | one picture of {x} and one of {y}
describe_and: describe this and read it to me | tell me what it is, in writing and aloud
describe_and: write and say what this is

mention: i like {x} | i saw {x} today | tell me about {x} | my friend has {x} | i dreamt of {x}
mention: do you know {x}?
mention: once there was {x} | {x} is all i need | i was looking for {x} | we talked about {x}
feel: i feel {x} today | it was a {x} day | everyone is {x} here | my sister is {x} | this is a {x} story
feel: why am i so {x}?
"""

_EVERY = 6
"""One wording in so many is never trained on."""


@cache
def wordings(kind: str, held_out: bool) -> tuple[str, ...]:
    """The wordings of one kind of request, for training or for judging; a table with few has them for both."""
    found = _tables()[kind]
    kept = tuple(text for place, text in enumerate(found) if (place % _EVERY == _EVERY - 1) == held_out)
    return kept or found


@cache
def _tables() -> dict[str, tuple[str, ...]]:
    tables: dict[str, tuple[str, ...]] = {}
    for line in _TABLE.strip().splitlines():
        if line:
            kind, _, rest = line.partition(": ")
            tables[kind] = (*tables.get(kind, ()), *(text.strip() for text in rest.split(" | ")))
    return tables
