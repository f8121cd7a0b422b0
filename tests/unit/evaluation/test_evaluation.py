from __future__ import annotations

import asyncio
import json
import math
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from anygpt import client
from anygpt.errors import InvalidInput, Unavailable
from anygpt.pack import Pack, open_pack
from anygpt.topology import MODALITIES
from services.trainer.data import ideas, world
from services.trainer.data.ideas import Music, Sound
from services.trainer.evaluation import table
from services.trainer.evaluation.asking import Question, Turn, ask_all
from services.trainer.evaluation.attributes import Asked, AttributeRow, naming, scene
from services.trainer.evaluation.calibration import Calibration
from services.trainer.evaluation.files import (
    clip_file,
    picture_file,
    read_clip,
    read_picture,
    read_sound,
    sound_file,
)
from services.trainer.evaluation.gallery import write_gallery
from services.trainer.evaluation.interval import Observation, beats_chance, figure
from services.trainer.evaluation.judgement import Judges, Reply, truth
from services.trainer.evaluation.material import Material
from services.trainer.evaluation.report import Report
from services.trainer.evaluation.result import Beside, Kept, Measured, Result, cells
from services.trainer.evaluation.run import Asker, Shown, Tally, verdict
from services.trainer.evaluation.score import Score, Scores
from services.trainer.evaluation.task import SPANS, Bench, Metric, Row


def test_the_interval_of_a_share_is_wilsons() -> None:
    found = figure([(1.0, 1.0)] * 80 + [(0.0, 1.0)] * 20)
    assert (found.value, found.count) == (0.8, 100)
    assert (found.low, found.high) == pytest.approx((0.7112, 0.8666), abs=1e-3)


def test_the_interval_of_a_ratio_holds_it_and_is_the_same_at_every_call() -> None:
    observed = [(float(n % 3), 10.0) for n in range(60)]
    found = figure(observed)
    assert found.low < found.value < found.high
    assert found == figure(observed)


@pytest.mark.parametrize("right", [0.0, 1.0])
def test_where_all_or_nothing_is_right_the_interval_still_has_a_width(right: float) -> None:
    found = figure([(right * things, things) for things in (1.0, 2.0, 3.0)] * 5)
    assert found.value == right
    assert found.high - found.low == pytest.approx(0.204, abs=1e-3)


def test_a_figure_without_observations_is_no_number_and_reaches_nothing() -> None:
    empty = figure([])
    assert math.isnan(empty.value)
    assert not Measured(Metric("x", "y", 0.5), empty).is_reached


@pytest.mark.parametrize(("right", "reached"), [(30, True), (18, False), (12, False)])
def test_chance_must_be_beaten_twice_and_by_five_standard_errors(right: int, reached: bool) -> None:
    found = figure([(1.0, 1.0)] * right + [(0.0, 1.0)] * (100 - right))
    assert beats_chance(found, 0.1) is reached


def test_chance_is_what_the_one_best_answer_to_all_questions_would_get() -> None:
    row = next(row for row in table.pairs() if row.name == "pair audio -> text")
    pieces = [Music(name, "happy") for name in ("harp", "violin", "violin", "flute")]
    score = Score()
    score.add(row, [(Question((), Asked(piece, "text")), Reply(), [(1.0, 1.0)]) for piece in pieces])
    (found,) = score.measured(row)
    assert found.metric.chance == 0.5
    assert not found.is_reached
    assert "twice chance (50.0%)" in cells(found)[5]


def test_a_system_that_is_gone_is_no_answer_of_the_pack() -> None:
    class Gone:
        async def answer(self, *pieces: object, options: object) -> None:
            raise Unavailable("the server ended the call")

    question = Question((Turn(("Draw a cat.",)),), None)
    with pytest.raises(Unavailable):
        asyncio.run(ask_all(Gone(), [question] * 3, 0, lambda: None))  # type: ignore[arg-type]


def test_rows_about_parts_that_a_pack_lacks_do_not_apply_to_it(tmp_path: Path) -> None:
    mini = open_pack("mini")
    other = Pack(tmp_path, mini.manifest, "")
    left_out = {row.name for row in table.rows() if not row.applies(other)}
    assert left_out == {"image codes -> image", "text alone"}
    assert all(row.applies(mini) for row in table.rows())


def test_media_survive_their_files() -> None:
    pixels = torch.rand(3, 32, 32) * 2 - 1
    assert torch.allclose(read_picture(picture_file(pixels)), pixels, atol=0.01)
    frames = torch.zeros(6, 3, 64, 64)
    assert torch.allclose(read_clip(clip_file(frames, 8.0)), frames, atol=0.1)
    samples = (0.5 * np.sin(np.arange(8000) / 10)).astype(np.float32)
    assert np.allclose(read_sound(sound_file(samples)), samples, atol=1e-3)


def test_truths_are_read_from_ideas() -> None:
    sad = Music("piano", "sad")
    assert [truth(sad, name) for name in ("instrument", "tempo", "mode", "mood")] == [
        "piano",
        "slow",
        "minor",
        "sad",
    ]
    assert truth(world.Scene("happy face", "red"), "emotion") == "happy"
    assert truth(Sound("rain"), "sound") == "rain"


def test_every_ordered_pair_has_a_task_that_must_beat_chance() -> None:
    rows = [row for row in table.pairs() if isinstance(row, AttributeRow)]
    assert {(row.source, row.target) for row in rows} == {(a, b) for a in MODALITIES for b in MODALITIES}
    assert all(metric.must_beat_chance and 0 < metric.chance < 0.51 for row in rows for metric in row.metrics)


def test_every_row_has_its_own_name_and_its_judges() -> None:
    rows = table.rows()
    assert len({row.name for row in rows}) == len(rows)
    assert all(metric.judge for row in rows for metric in row.metrics)


def test_a_row_counts_what_the_words_name(tmp_path: Path) -> None:
    row = AttributeRow("image -> text", ("image", "text"), scene, naming("name_image"), {"kind": 0.8})
    bench = Bench(tmp_path, Material(tmp_path), Judges(tmp_path))
    question = Question((), Asked(world.Scene("cat", "blue"), "text"))
    assert row.observe(bench, question, Reply("This is a cat on a blue background.")) == [(1.0, 1.0)]
    assert row.observe(bench, question, Reply("This is a dog.")) == [(0.0, 1.0)]
    assert row.observe(bench, question, Reply(failure="MEMORY")) == [(0.0, 1.0)]


def test_the_same_questions_are_asked_at_every_run_about_held_out_combinations(tmp_path: Path) -> None:
    bench = Bench(tmp_path, Material(tmp_path), Judges(tmp_path))
    row = next(row for row in table.rows() if row.name == "text -> image")
    first, more = list(row.questions(bench, 20)), list(row.questions(bench, 30))
    assert first == more[:20]
    assert len({ideas.caption(question.expected.idea) for question in first}) > 10


def test_a_score_that_was_kept_goes_on_as_if_it_had_never_stopped(tmp_path: Path) -> None:
    row = next(row for row in table.rows() if row.name == "text -> image")
    asked = [Question((), Asked(world.Scene("cat", "blue"), "image"), str(number)) for number in range(6)]
    replies = [
        Reply("", ("image", "text"), {}, (True, bool(number % 2)), "MEMORY: x" * (number == 4))
        for number in range(6)
    ]
    judged = [
        (question, reply, [(float(question.about < "3"), 1.0), None])
        for question, reply in zip(asked, replies, strict=True)
    ]
    whole, kept = Score(), Scores(tmp_path, is_resumed=True)
    whole.add(row, judged, {"image"})
    for part in (judged[:2], judged[2:]):
        score = kept.of(row)
        score.add(row, part, {"image"})
        kept.keep(row, score)
    assert kept.of(row) == whole
    assert [one.figure.count for one in whole.measured(row)] == [6, 0]
    assert whole.measured(row)[0].figure.value == 0.5
    assert (whole.ends, whole.failures) == ([(0.0, 1.0), (1.0, 1.0)] * 3, {"MEMORY": 1})
    assert Scores(tmp_path, is_resumed=False).of(row) == Score()


class Silent(Row):
    """Questions to nobody, each answered rightly."""

    name = "silent"
    metrics = (SPANS,)

    def questions(self, bench: Bench, count: int) -> Iterator[Question]:
        return (Question((), number) for number in range(count))

    def observe(self, bench: Bench, question: Question, reply: Reply) -> Sequence[Observation]:
        return [(1.0, 1.0)]


def test_a_gallery_of_a_resumed_evaluation_shows_the_first_replies_and_counts_them_once(
    tmp_path: Path,
) -> None:
    bench, row = Bench(tmp_path, Material(tmp_path), Judges(tmp_path)), Silent()
    # Questions without turns are for nobody, so that no client is needed.
    asker = Asker(None, bench, Scores(tmp_path, is_resumed=True), items=20)  # type: ignore[arg-type]
    score, found = asyncio.run(asker.ask(row, math.inf))
    assert len(found) == len(score.observed) == 20
    again, nothing = asyncio.run(asker.ask(row, math.inf))
    assert (again, nothing) == (score, [])
    assert [question.expected for question, _, _ in asyncio.run(asker.first(row))] == [0, 1, 2, 3]
    assert asker.scores.of(row) == score


def test_a_quick_look_leaves_the_score_that_more_was_asked_for(tmp_path: Path) -> None:
    bench, row = Bench(tmp_path, Material(tmp_path), Judges(tmp_path)), Silent()

    def ask(items: int, is_resumed: bool) -> int:
        asker = Asker(None, bench, Scores(tmp_path, is_resumed), items)  # type: ignore[arg-type]
        return len(asyncio.run(asker.ask(row, math.inf))[0].observed)

    assert ask(20, False) == 20
    assert ask(4, False) == 4
    assert ask(24, True) == 24


def test_media_that_no_judge_can_take_up_are_a_failure_of_the_reply(tmp_path: Path) -> None:
    class Picky(Silent):
        def observe(self, bench: Bench, question: Question, reply: Reply) -> Sequence[Observation]:
            if not reply.failure:
                raise ValueError("no sound")
            return [(0.0, 1.0)]

    asker = Asker(None, Bench(tmp_path, Material(tmp_path), Judges(tmp_path)), Scores(tmp_path, True), 2)  # type: ignore[arg-type]
    score, found = asyncio.run(asker.ask(Picky(), math.inf))
    assert score.failures == {"UNDECODABLE": 2}
    assert [reply.failure for _, reply, _ in found] == ["UNDECODABLE: no sound"] * 2


def result(measured: Sequence[Measured]) -> Result:
    real, shuffled = figure([(1.0, 1.0)] * 9 + [(0.0, 1.0)]), figure([(0.0, 1.0)] * 10)
    return Result(
        "mini", "ab" * 32, measured, [Calibration("colour of pictures", real, shuffled)], {"MEMORY": 2}
    )


def test_the_page_and_the_json_say_what_is_reached_and_what_the_judges_are_worth(tmp_path: Path) -> None:
    good = Measured(Metric("a | b", "pixels", 0.8), figure([(1.0, 1.0)] * 20))
    bad = Measured(Metric("words", "whisper", 0.085, "ratio", at_most=True), figure([(3.0, 10.0)] * 20))
    result([good, bad]).write(tmp_path)
    page = (tmp_path / "EVAL.md").read_text()
    for words in (
        "1 of 2 targets",
        "a \\| b",
        ">= 80.0%",
        "<= 8.5%",
        "| colour of pictures | 90.0%",
        "2 MEMORY",
    ):
        assert words in page
    document = json.loads((tmp_path / "EVAL.json").read_text())
    assert [row["reached"] for row in document["rows"]] == [True, False]
    assert document["sha256"] == "ab" * 32
    assert cells(bad)[2] == "30.0%"


def test_the_figures_of_another_path_stand_in_a_column_of_their_own(tmp_path: Path) -> None:
    both, one = (Metric(name, "pixels", 0.8) for name in ("text -> image", "text -> text"))
    other = [Measured(both, figure([(1.0, 1.0)] * 3 + [(0.0, 1.0)]))]
    replace(result(other), pack="mini-codes").write(tmp_path / "other")
    mine = [Measured(metric, figure([(1.0, 1.0)] * 20)) for metric in (both, one)]
    replace(result(mine), beside=Beside.read(tmp_path / "other")).write(tmp_path)
    page = (tmp_path / "EVAL.md").read_text()
    assert "| reached | mini-codes |" in page
    assert "| yes | 75.0% of 4 |" in page
    assert "| yes | - |" in page
    assert json.loads((tmp_path / "EVAL.json").read_text())["beside"]["pack"] == "mini-codes"


def test_a_pack_that_was_never_evaluated_has_nothing_to_stand_beside(tmp_path: Path) -> None:
    with pytest.raises(InvalidInput, match="evaluate it first"):
        Beside.read(tmp_path)


@pytest.mark.parametrize(
    "content", ["", "[]", '{"pack": "mini"}', '{"pack": "mini", "rows": [{}], "sha256": ""}']
)
def test_a_report_that_cannot_be_read_is_refused_by_name(tmp_path: Path, content: str) -> None:
    (tmp_path / "EVAL.json").write_text(content)
    with pytest.raises(InvalidInput, match="is malformed"):
        Beside.read(tmp_path)


def test_a_figure_of_nothing_is_null_and_can_stand_beside_others(tmp_path: Path) -> None:
    result([Measured(Metric("spans", "the grammar", 0.02, at_most=True), figure([]))]).write(tmp_path)
    json.loads((tmp_path / "EVAL.json").read_text(), parse_constant=pytest.fail)
    assert Beside.read(tmp_path).figures == {"spans": "- of 0"}


def test_a_later_evaluation_of_the_same_pack_keeps_note_and_column_and_knows_when_it_asked_less(
    tmp_path: Path,
) -> None:
    few, many = (
        result([Measured(Metric("a", "pixels", 0.8), figure([(1.0, 1.0)] * count))]) for count in (4, 20)
    )
    replace(many, note="It took a day.", beside=Beside("mini-codes", "cd", {"a": "1"})).write(tmp_path)
    kept = Kept.read(tmp_path)
    assert (few.after(kept).note, few.after(kept).beside) == (
        "It took a day.",
        Beside("mini-codes", "cd", {"a": "1"}),
    )
    assert replace(few, note="Newer.").after(kept).note == "Newer."
    assert few.is_less_than(kept)
    assert not many.is_less_than(kept)
    other = replace(few, digest="ef" * 32)
    assert (other.after(kept), other.is_less_than(kept)) == (other, False)


def test_what_only_some_replies_have_does_not_tell_how_much_was_asked(tmp_path: Path) -> None:
    def told(places: int, spans: int, asked: int = 20) -> Result:
        counts = {"scene: things": asked, "scene: places": places, SPANS.name: spans}
        return result([Measured(Metric(n, "x", 0.8), figure([(1.0, 1.0)] * c)) for n, c in counts.items()])

    told(19, 900).write(tmp_path)
    kept = Kept.read(tmp_path)
    assert not told(12, 300).is_less_than(kept)
    assert told(12, 1200, asked=16).is_less_than(kept)


def test_a_quick_look_leaves_the_table_of_more_questions_unless_a_folder_is_named(tmp_path: Path) -> None:
    few, many = (
        result([Measured(Metric("a", "pixels", 0.8), figure([(1.0, 1.0)] * count))]) for count in (4, 20)
    )
    many.write(tmp_path)
    for spares, count in ((True, 20), (False, 4)):
        _, said = Report.open(tmp_path, None, spares_larger=spares).write(few, [])
        assert json.loads((tmp_path / "EVAL.json").read_text())["rows"][0]["count"] == count
        assert ("of more questions" in said) is spares


@pytest.mark.parametrize("folder", ["file/below", "file"])
def test_a_place_where_nothing_can_be_written_is_told_before_anything_is_asked(
    tmp_path: Path, folder: str
) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(InvalidInput, match="nothing can be written"):
        Report.open(tmp_path / folder, None, spares_larger=False)
    with pytest.raises(InvalidInput, match="nothing can be written"):
        Report.open(None, tmp_path / folder / "page.html", spares_larger=False)


def test_a_report_that_cannot_be_written_leaves_the_last_one(tmp_path: Path) -> None:
    good = result([Measured(Metric("a", "pixels", 0.8), figure([(1.0, 1.0)]))])
    good.write(tmp_path)
    before = (tmp_path / "EVAL.json").read_bytes()
    with pytest.raises(ValueError, match="JSON"):
        replace(good, measured=[Measured(Metric("a", "pixels", math.inf), figure([]))]).write(tmp_path)
    assert (tmp_path / "EVAL.json").read_bytes() == before


def test_the_gallery_is_one_page_with_its_media_inside(tmp_path: Path) -> None:
    tone = sound_file((0.3 * np.sin(np.arange(16_000) / 5)).astype(np.float32))
    picture = picture_file(torch.zeros(3, 16, 16))
    question = Question((Turn(("Draw <b>.",)),), None)
    reply = Reply("Here.", ("image", "audio"), {"image": picture, "audio": tone})
    write_gallery(tmp_path / "g.html", "Gallery", [Shown("text -> image", question, reply, is_right=False)])
    page = (tmp_path / "g.html").read_text()
    assert "Draw &lt;b&gt;." in page
    assert page.count("data:image/webp;base64,") == 2
    assert "data:audio/ogg;base64," in page
    assert "&#10007;" in page
    assert "&#10003;" not in page


@pytest.mark.parametrize(("name", "count"), [("text -> image", 4), ("pair text -> image", 1)])
def test_a_gallery_shows_the_first_replies_of_a_row_whatever_came_of_them(name: str, count: int) -> None:
    row = next(row for row in table.rows() if row.name == name)
    question, tally = Question((Turn(("Draw a cat.",)),), None), Tally()
    replies = [Reply(failure="MEMORY: none"), Reply(), Reply("Here.", ("image",)), Reply("No.")]
    nobodys = (Question((), None), Reply(), [(1.0, 1.0)])
    tally.show(row, [nobodys, *[(question, reply, [(0.0, 1.0)]) for reply in [*replies, *replies]]])
    assert [shown.reply for shown in tally.shown] == replies[:count]


def test_a_tick_needs_something_that_was_observed() -> None:
    row = next(row for row in table.rows() if row.name == "scene -> text")
    observed = ([None] * 3, [(1.0, 1.0), None, None], [(2.0, 2.0), (1.0, 2.0), None])
    assert [verdict(row, one) for one in observed] == [None, True, False]


def test_the_gallery_shows_failures_with_their_reason_and_what_cannot_be_decoded(tmp_path: Path) -> None:
    question = Question((Turn(("Draw it.",)),), None)
    replies = [
        Reply(failure="MEMORY: <none>"),
        Reply(),
        Reply("Here.", ("image", "audio"), {"image": b"no picture", "audio": b"no sound"}),
    ]
    shown = [Shown("text -> image", question, reply) for reply in replies]
    write_gallery(tmp_path / "g.html", "Gallery", shown)
    page = (tmp_path / "g.html").read_text()
    for words in ("MEMORY: &lt;none&gt;", "Nothing came.", "This image cannot be", "This audio cannot be"):
        assert page.count(words) == 1


def test_who_does_not_see_or_hear_the_gallery_is_told_what_it_shows(tmp_path: Path) -> None:
    frames, silence = torch.zeros(6, 3, 64, 64), sound_file(np.zeros(16_000, np.float32))
    question = Question((Turn((client.speech(silence),)),), None, 'film "<it>"')
    reply = Reply("", ("video",), {"video": clip_file(frames, 8.0)})
    shown = [Shown("a", question, reply, is_right) for is_right in (True, False)]
    write_gallery(tmp_path / "g.html", "Gallery", shown)
    page = (tmp_path / "g.html").read_text()
    for words in (
        "<p class=about>film &quot;&lt;it&gt;&quot;</p>",
        'aria-label="speech that was asked about: film &quot;&lt;it&gt;&quot;"',
        'alt="spectrogram: speech that was asked about: film &quot;&lt;it&gt;&quot;"',
        'aria-label="video in answer to: film &quot;&lt;it&gt;&quot;" controls loop muted playsinline>',
        "aria-label=right>&#10003;",
        "aria-label=wrong>&#10007;",
    ):
        assert words in page
    assert "autoplay" not in page
    assert "prefers-reduced-motion" in page


def test_the_words_of_a_question_are_shown_once(tmp_path: Path) -> None:
    question = Question((Turn(("Draw a cat.",)),), None, "Draw a cat.")
    reply = Reply("", ("image",), {"image": picture_file(torch.zeros(3, 16, 16))})
    write_gallery(tmp_path / "g.html", "Gallery", [Shown("a", question, reply)])
    page = (tmp_path / "g.html").read_text()
    assert page.count(">Draw a cat.<") == 1
    assert 'alt="image in answer to: Draw a cat."' in page


def test_the_table_does_not_wait_for_the_gallery(tmp_path: Path) -> None:
    report = Report.open(tmp_path, tmp_path / "g.html", spares_larger=False)
    (tmp_path / "g.html").mkdir()
    with pytest.raises(OSError, match=r"g\.html"):
        report.write(result([Measured(Metric("a", "pixels", 0.8), figure([(1.0, 1.0)]))]), [])
    assert (tmp_path / "EVAL.md").is_file()
