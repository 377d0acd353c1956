"""Phone times of a folder of recordings: forced alignment of many clips, side by side, into one `phones.json`.

::

    my_speech/
      phones.json         {stem: [[ARPAbet, start s, end s], ...]} of every clip that could be aligned
      transcripts.json    {stem: text}
      align_status.json   {stem: "ok", "ok:g2p=words with a guessed pronunciation" or "fail: reason"}

The three appear at the end, whole. Until then the results collect in `phones.jsonl.partial`, from which an interrupted
run goes on; clips that an earlier run aligned to the same text are not aligned again, failed ones are.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Iterator
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from emotalk_ros.corpus.align import shared_aligner
from emotalk_ros.corpus.readers.base import read_audio, stem_table
from emotalk_ros.corpus.store import CorpusError, Phone
from emotalk_ros.files import write_text
from emotalk_ros.workers import worker_pool

PHONES, TRANSCRIPTS, STATUS = "phones.json", "transcripts.json", "align_status.json"
PARTIAL = "phones.jsonl.partial"
_FAILED = "fail: "


@dataclass(frozen=True)
class Spoken:
    """A recording and what is said in it: `text`, or a `grammar` (JSGF) of what may have been said."""

    stem: str
    audio: Path
    text: str = ""
    grammar: str = ""


@dataclass(frozen=True)
class Timed:
    """What came of one recording: its text, its phones (none when it failed) and the status in words."""

    stem: str
    text: str
    status: str
    phones: tuple[Phone, ...] = ()

    @property
    def failed(self) -> bool:
        """Whether no phones were found."""
        return not self.phones

    @property
    def problem(self) -> str:
        """Stem and reason of a failure, in words."""
        return f"{self.stem}: {self.status.removeprefix(_FAILED)}"


@dataclass
class PhoneTimes:
    """The outcome of a run: what is in the files now, by stem, and how many recordings an earlier run had aligned."""

    results: dict[str, Timed] = field(default_factory=dict)
    kept_before: int = 0

    @property
    def failures(self) -> list[Timed]:
        """Recordings without phones, in order."""
        return [result for _, result in sorted(self.results.items()) if result.failed]


def write_phone_times(
    folder: Path, recordings: Iterable[Spoken], jobs: int = 1, progress: Callable[[str], None] | None = None
) -> PhoneTimes:
    """Aligns `recordings` and writes the three files into `folder`, besides what they hold already.

    `progress` is called with each stem when it is done. The result does not depend on `jobs`. An exception or Ctrl-C
    keeps what was found so far for the next call. Raises CorpusError when pocketsphinx is not installed, or for files
    beside that are unreadable or not by this function.
    """
    folder.mkdir(parents=True, exist_ok=True)
    times = PhoneTimes(_known(folder))
    waiting = []
    for spoken in recordings:
        before = times.results.get(spoken.stem)
        if before is not None and not before.failed and (spoken.grammar or before.text == spoken.text):
            times.kept_before += 1
            if progress is not None:
                progress(spoken.stem)
        else:
            waiting.append(spoken)
    if waiting:
        shared_aligner()  # its absence is to be told once, not once a clip
    with open(folder / PARTIAL, "a", encoding="utf-8") as journal:
        journal.write("\n")  # the last line may be torn
        for result in _outcomes(waiting, jobs):
            times.results[result.stem] = result
            journal.write(json.dumps(asdict(result), ensure_ascii=False) + "\n")
            journal.flush()
            if progress is not None:
                progress(result.stem)
    _finish(folder, times.results)
    return times


def time_phones(spoken: Spoken) -> Timed:
    """Aligns one recording; what is wrong with it is in the status."""
    text = spoken.text
    try:
        audio = read_audio(spoken.audio)
        if spoken.grammar:
            text = shared_aligner().recognise(audio, spoken.grammar)
        found = shared_aligner().align(audio, text)
    except CorpusError as error:
        return Timed(spoken.stem, text, f"{_FAILED}{error}")
    status = f"ok:g2p={','.join(found.guessed)}" if found.guessed else "ok"
    phones = tuple((name, round(start, 3), round(end, 3)) for name, start, end in found.phones)
    return Timed(spoken.stem, text, status, phones)


def _outcomes(recordings: list[Spoken], jobs: int) -> Iterator[Timed]:
    if jobs <= 1 or len(recordings) < 2:
        yield from map(time_phones, recordings)
        return
    with worker_pool(min(jobs, len(recordings))) as pool:
        yield from pool.imap_unordered(time_phones, recordings, chunksize=4)


def _known(folder: Path) -> dict[str, Timed]:
    """What earlier runs found: the finished files, then the journal of an interrupted one."""
    if (folder / PHONES).is_file() and not (folder / STATUS).is_file():
        raise CorpusError(
            f"{folder / PHONES} comes from elsewhere (no {STATUS} beside it): use it as it is, or move it away"
        )
    try:
        phones, texts, status = (stem_table(folder / name) for name in (PHONES, TRANSCRIPTS, STATUS))
    except CorpusError as error:
        raise CorpusError(f"{error}; remove it to align anew") from error
    known = {}
    for stem in phones.keys() | status.keys():
        rows = tuple((str(name), float(start), float(end)) for name, start, end in phones.get(stem, ()))
        known[stem] = Timed(stem, str(texts.get(stem, "")), str(status.get(stem, "ok")), rows)
    journal = folder / PARTIAL
    if journal.is_file():
        for line in journal.read_text(encoding="utf-8").splitlines():
            try:
                entry = json.loads(line)
                entry["phones"] = tuple((str(p), float(a), float(b)) for p, a, b in entry["phones"])
                known[entry["stem"]] = Timed(**entry)
            except (ValueError, TypeError, KeyError):
                continue  # torn when the run was killed: that clip is aligned again
    return known


def _finish(folder: Path, results: dict[str, Timed]) -> None:
    ordered = sorted(results.items())
    tables: dict[str, dict[str, Any]] = {
        TRANSCRIPTS: {stem: result.text for stem, result in ordered},
        STATUS: {stem: result.status for stem, result in ordered},
        PHONES: {stem: result.phones for stem, result in ordered if not result.failed},
    }
    for name, table in tables.items():
        rows = ",\n".join(
            f"{json.dumps(stem, ensure_ascii=False)}: {json.dumps(value, ensure_ascii=False)}"
            for stem, value in table.items()
        )
        write_text(folder / name, "{\n" + rows + "\n}\n")
    (folder / PARTIAL).unlink(missing_ok=True)
