"""The rows of the evaluation, in the order in which they are printed."""

from __future__ import annotations

from anygpt.vocabulary import ModalityName
from services.trainer.data import ideas
from services.trainer.evaluation import attributes as a
from services.trainer.evaluation.attributes import AnimatedRow, Ask, AttributeRow, Draw, FreeRow
from services.trainer.evaluation.codec import CodecRow
from services.trainer.evaluation.conversation import ReferenceRow, SwitchingRow
from services.trainer.evaluation.english import PerplexityRow
from services.trainer.evaluation.scenes import SceneDrawnRow, SceneWordsRow
from services.trainer.evaluation.speaking import SpeakingRow, TranscriptRow
from services.trainer.evaluation.task import Row

MUSIC: dict[str, float | None] = {"instrument": 0.8, "tempo": 0.8, "mode": 0.8}


def rows() -> list[Row]:
    """Every row but the count of spans that had to be closed, which all of them give."""
    return [*_understanding(), *_making(), *_conversing(), *pairs()]


def _understanding() -> list[Row]:
    return [
        AttributeRow("image -> text", ("image", "text"), a.scene, a.naming("name_image"), {"kind": 0.8}),
        AttributeRow("face -> text", ("image", "text"), a.face, a.naming("feeling"), {"emotion": 0.85}),
        TranscriptRow(),
        AttributeRow("music -> text", ("audio", "text"), a.music, a.naming("name_audio"), MUSIC),
        AttributeRow("sound -> text", ("audio", "text"), a.sound, a.naming("name_audio"), {"sound": 0.8}),
        AttributeRow(
            "video -> text",
            ("video", "text"),
            a.moving,
            a.naming("name_video"),
            {"kind": 0.75, "motion": 0.9},
        ),
        SceneWordsRow(),
        AnimatedRow("animation -> text", a.naming("name_video"), {"kind": 0.75, "motion": 0.9}),
    ]


def _making() -> list[Row]:
    return [
        FreeRow("text -> image", ("text", "image"), a.scene, a.wanting("image"), {"kind": 0.8, "colour": 0.95}
        ),
        SceneDrawnRow(),
        CodecRow(),
        SpeakingRow(),
        FreeRow("text -> music", ("text", "audio"), a.music, a.wanting("music"), MUSIC),
        FreeRow("text -> sound", ("text", "audio"), a.sound, a.wanting("sound"), {"sound": 0.8}),
        FreeRow("text -> video", ("text", "video"), a.moving, a.wanting("video"), {"kind": 0.75, "motion": 0.9}
        ),
        AttributeRow("face -> music", ("image", "audio"), a.face, a.turning("to_music", ideas.as_audio),
            {"mode": 0.85, "tempo": 0.85},
        ),
    ]  # fmt: skip


def _conversing() -> list[Row]:
    return [SwitchingRow(), ReferenceRow(), PerplexityRow()]


def pairs() -> list[Row]:
    """A task for each ordered pair of modalities, with `want` given."""
    still, film = ideas.as_still, ideas.as_moving
    tasks: tuple[tuple[ModalityName, ModalityName, Draw, Ask, str], ...] = (
        ("text", "text", a.scene, a.telling("This is {}. What colour is the background?"), "colour"),
        ("text", "image", a.scene, a.wanting("image"), "colour"),
        ("text", "video", a.moving, a.wanting("video"), "motion"),
        ("text", "speech", a.scene, a.telling("Say: this is {}"), "kind"),
        ("text", "audio", a.music, a.wanting("music"), "instrument"),
        ("image", "text", a.scene, a.naming("colour"), "colour"),
        ("image", "image", a.scene, a.recolouring, "colour"),
        ("image", "video", a.scene, a.moving_on, "motion"),
        ("image", "speech", a.scene, a.naming("name_aloud"), "kind"),
        ("image", "audio", a.mooded_face, a.turning("to_music", ideas.as_audio), "mood"),
        ("video", "text", a.moving, a.naming("motion"), "motion"),
        ("video", "image", a.moving, a.turning("still", still), "kind"),
        ("video", "video", a.moving, a.moving_on, "motion"),
        ("video", "speech", a.moving, a.naming("name_aloud"), "kind"),
        ("video", "audio", a.mooded_moving_face, a.turning("to_music", ideas.as_audio), "mood"),
        ("speech", "text", a.scene, a.telling("this is {}"), "kind"),
        ("speech", "image", a.scene, a.telling("draw {}"), "colour"),
        ("speech", "video", a.moving, a.telling("make a video of {}"), "motion"),
        ("speech", "speech", a.scene, a.telling("say this is {}"), "kind"),
        ("speech", "audio", a.music, a.telling("play {}"), "instrument"),
        ("audio", "text", a.music, a.naming("player"), "instrument"),
        ("audio", "image", a.pictured_music, a.turning("draw_sound", still), "kind"),
        ("audio", "video", a.pictured_music, a.turning("film_sound", film), "kind"),
        ("audio", "speech", a.music, a.naming("hear_aloud"), "instrument"),
        ("audio", "audio", a.music, a.other_mood, "mood"),
    )
    return [
        AttributeRow(f"pair {source} -> {target}", (source, target), draw, ask, {attribute: None})
        for source, target, draw, ask, attribute in tasks
    ]
