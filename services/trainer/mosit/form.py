"""The shapes of the three published files, as typed models: an unknown or missing key is an error."""

from __future__ import annotations

from typing import Literal

from pydantic import BaseModel, ConfigDict, Field, StrictInt


class _Form(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class RawImage(_Form):
    """An entry of `image_list`."""

    image_name: str
    data_source: str = "mosit"
    caption: str


class RawVideo(_Form):
    """An entry of `video_list`."""

    video_name: str
    data_source: str = "mosit"
    caption: str


class RawAudio(_Form):
    """An entry of `audio_list`."""

    audio_name: str
    data_source: str = "mosit"
    caption: str


class RawSpeech(_Form):
    """An entry of `speech_list`, which NExT-GPT does not have."""

    speech_name: str
    data_source: str = "mosit"
    caption: str


class Said(_Form):
    """A message of MosIT."""

    sender: Literal["human", "gpt"] = Field(alias="from")
    value: str


class RawRecord(_Form):
    """A record of `mosit.json`."""

    image_list: tuple[RawImage, ...] = ()
    video_list: tuple[RawVideo, ...] = ()
    audio_list: tuple[RawAudio, ...] = ()
    speech_list: tuple[RawSpeech, ...] = ()
    conversation: tuple[Said, ...]
    topic: str = ""
    split: str = ""
    references: tuple[StrictInt, ...] = ()


class PreparedRecord(_Form):
    """A record of `mosit_instruction_tuning.json`."""

    image_captions: tuple[str, ...] = ()
    image_caption_embeddings: tuple[str, ...] = ()
    video_captions: tuple[str, ...] = ()
    video_caption_embeddings: tuple[str, ...] = ()
    audio_captions: tuple[str, ...] = ()
    audio_caption_embeddings: tuple[str, ...] = ()
    speech_captions: tuple[str, ...] = ()
    speech_caption_embeddings: tuple[str, ...] = ()
    conversations: tuple[Said, ...]


class Line(_Form):
    """A message of AnyInstruct."""

    role: Literal["user", "assistant"]
    message: str


class AnyInstructRecord(_Form):
    """A line of AnyInstruct's dialogues."""

    id: StrictInt
    conversation: tuple[tuple[Line, ...], ...]
