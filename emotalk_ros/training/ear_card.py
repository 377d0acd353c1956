"""An ear's folder: weights, its card, its licence; and the same figures for the terminal."""

from __future__ import annotations

import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from emotalk_ros.corpus.readers.emotional import SOURCES, Voice, VoiceSource
from emotalk_ros.emotions import EMOTIONS
from emotalk_ros.share import candidate_paths
from emotalk_ros.training.card_text import fenced, plain
from emotalk_ros.training.ear import Clips, Predictions, Trained
from emotalk_ros.training.ear_voices import Noticing

_DEEDS = {
    "CC BY-NC-SA 4.0": "https://creativecommons.org/licenses/by-nc-sa/4.0/legalcode",
    "CC BY-SA 4.0": "https://creativecommons.org/licenses/by-sa/4.0/legalcode",
    "CC BY-NC 4.0": "https://creativecommons.org/licenses/by-nc/4.0/legalcode",
    "CC BY 4.0": "https://creativecommons.org/licenses/by/4.0/legalcode",
    "CC0 1.0": "https://creativecommons.org/publicdomain/zero/1.0/legalcode",
}
"""Where the text of a licence is."""
_FREE = ("apache", "mit", "bsd", "cc0", "cc by 4", "cc-by-4", "public domain")
Pair = tuple[Predictions, Predictions]
"""Single clips, and with the speaker known."""


def licence_doubts(voices: Sequence[Voice], licence: str) -> list[str]:
    """What speaks against giving an ear taught by these recordings the licence `licence`: a sentence each."""
    if not licence.strip().lower().startswith(_FREE):
        return []
    names = sorted({voice.collection for voice in voices if voice.collection in SOURCES})
    return [
        f"{SOURCES[name].name} comes under {SOURCES[name].licence}: an ear taught by it can hardly be {licence}"
        for name in names
        if not SOURCES[name].free
    ]


def sources(clips: Clips, known: Mapping[str, VoiceSource]) -> tuple[dict[str, Any], ...]:
    """What the card and config.json say of each collection behind an ear."""
    rows = []
    for name in sorted(set(clips.collections)):
        inside = clips.collections == name
        source = known.get(name, VoiceSource(name, "as its user states", "", False))
        rows.append(
            {
                "name": source.name,
                "licence": source.licence,
                "attribution": source.attribution,
                "clips": int(inside.sum()),
                "speakers": len(set(clips.speakers[inside])),
                "emotions": sorted({EMOTIONS[k] for k in clips.emotions[inside] if k >= 0}, key=EMOTIONS.index),
                "minutes": round(
                    sum(float(c.seconds.sum()) for c, k in zip(clips.clips, inside, strict=True) if k) / 60
                ),
            }
        )
    return tuple(rows)


def write_ear(folder: Path, trained: Trained, tested: Pair | None, noticing: Mapping[str, Noticing]) -> None:
    """Writes config.json, ear.safetensors, README.md and LICENSE into `folder` (which exists)."""
    ear = trained.ear
    ear.save(folder)
    (folder / "README.md").write_text(_card(trained, tested, noticing), encoding="utf-8")
    _write_licence(folder / "LICENSE", ear.config.licence)


def report(trained: Trained, tested: Pair | None, noticing: Mapping[str, Noticing]) -> str:
    """Recall, calibration and confusion of speakers held out, and how well a change of the speaker is noticed."""
    lines = [_table(trained, tested), ""]
    if noticing:
        lines += [_noticing(noticing), ""]
    for title, pair in _rows(trained, tested):
        lines += [f"{title}, speaker known: actual emotion by row, heard by column", _confusion(pair[1]), ""]
    return "\n".join(lines)


def _rows(trained: Trained, tested: Pair | None) -> list[tuple[str, Pair]]:
    rows = [(f"{name}, other speakers", pair) for name, pair in trained.by_collection.items()]
    rows += [(f"{name}, by an ear that never heard {name}", pair) for name, pair in trained.strange.items()]
    return rows + ([("speakers kept out to the end", tested)] if tested else [])


def _table(trained: Trained, tested: Pair | None) -> str:
    lines = [
        "| measured on | clips | | recall | of chance | arousal | valence | calibration error |",
        "|---|---|---|---|---|---|---|---|",
    ]
    for title, pair in _rows(trained, tested):
        for how, told in zip(("single clips", "speaker known"), pair, strict=True):
            chance = 1.0 / len(set(told.emotions.tolist()))
            lines.append(
                f"| {plain(title)} | {len(told.emotions)} | {how} | {told.recall:.2f} | {chance:.2f} | "
                f"{told.arousal_recall:.2f} | {told.valence_recall:.2f} | {told.calibration_error:.3f} |"
            )
    return "\n".join(lines)


def _noticing(noticing: Mapping[str, Noticing]) -> str:
    lines = [
        "| another speaker, among | changes | noticed within 10 s | seconds (median) | false, a minute |",
        "|---|---|---|---|---|",
    ]
    lines += [
        f"| {plain(name)} | {n.streams} | {n.within_10s:.2f} | {n.seconds:.1f} | {n.false_per_minute:.2f} |"
        for name, n in noticing.items()
    ]
    return "\n".join(lines)


def _confusion(told: Predictions) -> str:
    width = max(map(len, EMOTIONS))
    head = " " * (width + 1) + " ".join(name[:5].rjust(5) for name in EMOTIONS)
    rows = [
        f"{name.ljust(width)} " + " ".join(f"{int(count):5d}" for count in row)
        for name, row in zip(EMOTIONS, told.confusion, strict=True)
        if row.sum()
    ]
    return "\n".join([head, *rows])


def _card(trained: Trained, tested: Pair | None, noticing: Mapping[str, Noticing]) -> str:
    config = trained.ear.config
    another = ""
    if noticing:
        another = f"""
Another speaker, noticed on made-up streams: a minute of whole clips of one speaker in random emotions, then half a
minute of another one of the same collection. The fit had none of these speakers. Seconds are of speech.

{_noticing(noticing)}
"""
    behind = "\n".join(
        f"| {plain(s['name'])} | {plain(s['licence'])} | {plain(s['attribution'])} | {s['clips']} | {s['speakers']} | "
        f"{', '.join(s['emotions']) or 'none told'} |"
        for s in config.sources
    )
    confusions = "\n\n".join(
        f"{plain(title)}, speaker known:\n\n{fenced(_confusion(pair[1]))}" for title, pair in _rows(trained, tested)
    )
    return f"""# Ear {plain(config.name)}

Licence: **{plain(config.licence)}** (see `LICENSE`).

Hears emotion ({", ".join(config.labels)}), arousal and
valence in a voice, relative to how its speaker usually sounds. It reads layers {", ".join(map(str, config.layers))} of
the speech trunk of the network it was made for; nothing else of that network depends on it.

## Learned from

| collection | licence | by | clips | speakers | emotions |
|---|---|---|---|---|---|
{behind}

## Measured

Unweighted recall of the emotions that occur, of high against low arousal, and of pleasant against unpleasant; expected
calibration error in ten bins. "Speaker known": the other clips of the same speaker were heard before. No speaker was
heard in the fit that he is measured by. Scores are divided by temperatures: {_temperatures(trained)}.

{_table(trained, tested)}
{another}
{confusions}

## Use

`load_ear("PATH OF THIS FOLDER")`, or the parameter `emotion.ear` of the node. Made by `emotalk train ear`.

## Limits

Taught by actors. Everyday feeling is fainter, and what it is called is a matter of opinion: probabilities are spread
where the voice is not clear. Somebody angry for minutes on end becomes, by his own measure, normal: the picture of the
speaker goes by the last {config.memory:.0f} s of speech. Not made for judging people, and not for decisions about them.
"""


def _temperatures(trained: Trained) -> str:
    single, known = trained.temperatures
    return (
        f"{single:.2f} for single clips and {known:.2f} with the speaker known, which suits held-out speakers of "
        f"these collections times {trained.doubt:g} for doubt about other recordings"
    )


def _write_licence(path: Path, licence: str) -> None:
    if licence.strip().lower().startswith("apache"):
        text = next((place for place in candidate_paths("LICENSE") if place.is_file()), None)
        if text is not None:
            shutil.copyfile(text, path)
            return
    deed = _DEEDS.get(licence.strip(), "")
    path.write_text(f"{licence}\n" + (f"\nThe text of this licence: {deed}\n" if deed else ""), encoding="utf-8")
