"""The recordings that the shipped network learnt from: where they are public, how they are named, what is said in them.

Facts only; `sources` gets and aligns them. Attributions stand in the model card.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import yaml

from emotalk_ros.corpus.phone_times import Spoken
from emotalk_ros.corpus.readers.facegood import TAKES
from emotalk_ros.corpus.store import CorpusError


@dataclass(frozen=True)
class Repository:
    """A GitHub repository at one commit; `paths` (git sparse-checkout patterns) is all that is needed of it."""

    name: str
    commit: str
    paths: tuple[str, ...]


Trees = dict[str, Path]
"""Folder of each repository, by its name; `transcripts`, where given: one with LibriSpeech's own *.trans.txt."""


@dataclass(frozen=True)
class Collection:
    """Recordings under one licence. `find(trees)` yields each with its words, `audio` being the original file."""

    recordings: Repository
    licence: str
    find: Callable[[Trees], Iterator[Spoken]]
    texts: tuple[Repository, ...] = ()
    """Repositories that hold the transcripts, where the recordings come without."""


RESEMBLYZER = Repository(
    "resemble-ai/Resemblyzer",
    "15d828edebe06bc72b9cabc8ef8ca5ab2cb457ce",
    ("/audio_data/librispeech_train-clean-100/", "/audio_data/librispeech_test-other/"),
)
FLAKY_LIBRISPEECH = Repository(
    "proger/flaky-librispeech", "1a9c1e96eb83e8de856c10b72d982982612e11b0", ("/spin/*.query.txt.spin",)
)
FBAI_SPEECH = Repository(
    "facebookresearch/fbai-speech",
    "43cdb3ca9644a755d5c6cc55cbcc91132f85ed44",
    ("/is21_deep_bias/ref/test-other.biasing_100.tsv",),
)
DC_TTS = Repository("PhilippMatthes/dc_tts", "5f20e75b5c454b22f9f7dcaa2f7282bada93c1eb", ("/LJSpeech-1.1/",))
SPEECH_TO_INTENT = Repository(
    "Picovoice/speech-to-intent-benchmark",
    "47b1ca63afe4f08cb83e1f70fec16764879bd130",
    ("/data/speech/clean/", "/data/label/", "/data/rhino/*.yaml", "/LICENSE"),
)
WAKE_WORDS = Repository(
    "Picovoice/wake-word-benchmark", "84919190fb1891bf0936dcb577d9268e467f876f", ("/audio/*/", "/LICENSE")
)
PRECISE = Repository(
    "MycroftAI/Precise-Community-Data",
    "4854e39b7f8c0e14d387d4e135aa10486f5158bf",
    (
        *(f"/{folder}/*.wav" for folder in ("amelia/en", "athena/en", "computer/en", "heychatterbox/en-us")),
        *("/heycomputer/en/*.wav", "/not-wake-words/en/", "/licenses/"),
    ),
)

FACEGOOD = Repository(
    "FACEGOOD/FACEGOOD-Audio2Face",
    "e6d41b6ed9e414b2f7427e52e18c401f7d1775a8",
    (
        *(f"/code/train/bs_value/bs_value_{take}.npy" for take in TAKES),
        *(f"/code/train/wav/{take}.wav" for take in TAKES),
        "/code/train/shirley_1119_bs_name316.npy",
        "/LICENSE",
    ),
)
"""Faces rather than voices alone: `readers.facegood` reads it as it is. MIT (LICENSE)."""

ALSO_SPOKEN = {
    "103-1240-0000": "CHAPTER ONE MISSUS RACHEL LYNDE IS SURPRISED MISSUS RACHEL LYNDE LIVED JUST WHERE THE AVONLEA"
    " MAIN ROAD DIPPED DOWN INTO A LITTLE HOLLOW FRINGED WITH ALDERS AND LADIES EARDROPS AND TRAVERSED BY A BROOK"
}
"""The one LibriSpeech utterance that FLAKY_LIBRISPEECH leaves out (L. M. Montgomery, Anne of Green Gables)."""


def librispeech(trees: Trees) -> Iterator[Spoken]:
    """251 readers of train-clean-100 in one utterance each, 10 of test-other in ten."""
    root = trees[RESEMBLYZER.name]
    texts = {**ALSO_SPOKEN, **_librispeech_texts(trees)}
    for part in ("librispeech_train-clean-100", "librispeech_test-other"):
        for path in _files(root, f"audio_data/{part}", "**/*.flac"):
            yield Spoken(path.stem, path, texts.get(path.stem, "").lower())


def _librispeech_texts(trees: Trees) -> dict[str, str]:
    """Texts by utterance: of LibriSpeech's own *.trans.txt where a folder of them is given, else of the two lists."""
    texts: dict[str, str] = {}
    if (own := trees.get("transcripts")) is not None:
        for path in _files(own, ".", "**/*.trans.txt"):
            for line in path.read_text(encoding="utf-8").splitlines():
                stem, _, text = line.strip().partition(" ")
                texts[stem] = text
        return texts
    for path in _files(trees[FLAKY_LIBRISPEECH.name], "spin", "*.query.txt.spin"):
        # path of the .flac, tab, "<↑>" (a reference, nothing misheard) and its pieces: "▁SO ▁E AS Y" is "SO EASY"
        for line in path.read_text(encoding="utf-8").splitlines():
            flac, _, pieces = line.partition("\t")
            marker, _, pieces = pieces.partition(" ")
            if marker == "<↑>":
                texts[Path(flac).stem] = pieces.replace(" ", "").replace("▁", " ").strip()
    path = _file(trees[FBAI_SPEECH.name], "is21_deep_bias/ref/test-other.biasing_100.tsv")
    for line in path.read_text(encoding="utf-8").splitlines():
        stem, text, *_ = line.split("\t")
        texts[stem] = text
    return texts


def ljspeech(trees: Trees) -> Iterator[Spoken]:
    """141 of the 13,100 clips; the third column has numbers and abbreviations spoken out."""
    root = trees[DC_TTS.name] / "LJSpeech-1.1"
    rows = (line.split("|") for line in _file(root, "metadata_all.csv").read_text(encoding="utf-8").splitlines())
    texts = {cells[0]: cells[-1] for cells in rows}
    for path in _files(root, "wavs", "*.wav"):
        yield Spoken(path.stem, path, texts.get(path.stem, ""))


def picovoice_barista(trees: Trees) -> Iterator[Spoken]:
    """Coffee orders. Nobody wrote them down: the true slots are known, the words around them are left to a recogniser.

    It chooses among the benchmark's own sentence patterns for those slots.
    """
    root = trees[SPEECH_TO_INTENT.name]
    labels = json.loads(_file(root, "data/label/label.json").read_text(encoding="utf-8"))
    context = yaml.safe_load(_file(root, "data/rhino/coffee_maker.yaml").read_text(encoding="utf-8"))["context"]
    for path in _files(root, "data/speech/clean", "*.wav"):
        if (label := labels.get(path.name)) is not None:
            slots = {name: value.strip() for name, value in label["slots"].items()}
            yield Spoken(path.stem, path, grammar=order_grammar(slots, context["expressions"][label["intent"]]))


def order_grammar(slots: dict[str, str], patterns: list[str]) -> str:
    """The patterns that have exactly these slots, as one JSGF expression with the slots' words in place.

    `[brew, get me] [a, an] $roast:roast $drink:drink` becomes `(brew | get me) (a | an) dark roast mocha`.
    """
    sentences = []
    for pattern in patterns:
        if set(re.findall(r"\$\w+:(\w+)", pattern)) == set(slots):
            choices = re.sub(r"\[([^\]]*)\]", lambda found: f"({found[1].replace(',', ' |')})", pattern)
            sentences.append(re.sub(r"\$\w+:(\w+)", lambda found: slots[found[1]], choices))
    return " | ".join(sentences).lower()


def picovoice_wakewords(trees: Trees) -> Iterator[Spoken]:
    """Single words, named by their folders: every second file (numbers in their order, other names by the alphabet)."""
    root = trees[WAKE_WORDS.name]
    for folder in sorted(path for path in (root / "audio").glob("*") if path.is_dir()):
        paths = (path for path in folder.iterdir() if path.suffix in (".wav", ".flac"))
        ordered = sorted(paths, key=lambda p: (0, int(p.stem), "") if p.stem.isdigit() else (1, 0, p.stem))
        for path in ordered[::2]:
            yield Spoken(f"{folder.name.replace(' ', '_')}_{path.stem}", path, folder.name)


PRECISE_WORDS = {
    "amelia/en": "amelia",
    "athena/en": "athena",
    "computer/en": "computer",
    "heychatterbox/en-us": "hey chatterbox",
    "heycomputer/en": "hey computer",
}


def precise_community(trees: Trees) -> Iterator[Spoken]:
    """Wake words, and words that are none; only what a contributor's waiver in licenses/ names."""
    root = trees[PRECISE.name]
    waived = "\n".join(path.read_text(encoding="utf-8") for path in _files(root, "licenses", "license-2*.txt"))
    said = {}
    for line in _file(root, "not-wake-words/en/metadata.csv").read_text(encoding="utf-8").splitlines():
        name, _, rest = line.partition(",")
        said[name.strip()] = rest.split(",")[0].strip()
    for folder in (*PRECISE_WORDS, "not-wake-words/en"):
        for path in _files(root, folder, "*.wav"):
            if path.name in waived:
                yield Spoken(path.stem, path, PRECISE_WORDS.get(folder) or said.get(path.name, ""))


COLLECTIONS = {
    "librispeech": Collection(
        RESEMBLYZER,
        "CC BY 4.0 (audio_data/librispeech_test-other/LICENSE.TXT)",
        librispeech,
        (FLAKY_LIBRISPEECH, FBAI_SPEECH),
    ),
    "ljspeech": Collection(DC_TTS, "public domain (LJSpeech-1.1/README)", ljspeech),
    "picovoice_barista": Collection(SPEECH_TO_INTENT, "Apache-2.0 (LICENSE)", picovoice_barista),
    "picovoice_wakewords": Collection(WAKE_WORDS, "Apache-2.0 (LICENSE)", picovoice_wakewords),
    "precise_community": Collection(PRECISE, "public domain waivers (licenses/)", precise_community),
}


def _file(root: Path, name: str) -> Path:
    if not (root / name).is_file():
        raise CorpusError(f"{root} has no file {name}: is the checkout complete, and of the commit that is asked for?")
    return root / name


def _files(root: Path, folder: str, pattern: str) -> list[Path]:
    found = sorted((root / folder).glob(pattern))
    if not found:
        raise CorpusError(
            f"{root / folder} has no {pattern}: is the checkout complete, and of the commit that is asked for?"
        )
    return found
