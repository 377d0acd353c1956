"""Get the recordings that the shipped network is trained on, and when each of their phones is said.

    emotalk prepare shipped-sources OUT --jobs 2

Gets five public collections (`collections`) from GitHub, each at the commit that was used and no more of it
than is needed, writes OUT/<collection>/audio/<name>.flac (16 kHz mono) and aligns each with its words by pocketsphinx:
OUT/<collection>/phones.json, what `emotalk prepare shipped-corpora` reads. The studio takes of FACEGOOD are copied to
OUT/facegood as they are. Resumes where it was interrupted.

Needs git, pocketsphinx (the extra `corpus`) and, for words that its dictionary lacks, espeak-ng.
"""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import soundfile
from rich.progress import Progress

from emotalk_ros.corpus.phone_times import PhoneTimes, Spoken, write_phone_times
from emotalk_ros.corpus.readers.base import read_audio
from emotalk_ros.corpus.shipped.collections import COLLECTIONS, FACEGOOD, Collection, Repository, Trees
from emotalk_ros.corpus.store import CorpusError
from emotalk_ros.files import LEFTOVERS, replacing
from emotalk_ros.terminal import Terminal
from emotalk_ros.units import SAMPLE_RATE
from emotalk_ros.workers import worker_pool

console = Terminal(stderr=True)
GITHUB = "https://github.com"
FACEGOOD_FOLDER = "facegood"
"""What --collection and the folder of the studio takes are called."""


@dataclass(frozen=True)
class Request:
    """Where the collections go, and what they are made from."""

    out: Path
    jobs: int = 2
    repositories: Path | None = None
    """Folder with clones that are there already, `<owner>/<name>` or `<name>`: nothing is downloaded."""
    transcripts: Path | None = None
    """Folder with LibriSpeech's own *.trans.txt, instead of lists of its sentences."""
    host: str = GITHUB
    """Where to clone from."""
    limit: int | None = None
    """At most so many recordings of each collection, taken evenly."""


def get(repository: Repository, cache: Path, host: str) -> Path:
    """A sparse checkout of `repository` below `cache`; one that is there already is taken as it is.

    Only the commit itself is fetched, without its history, and only the files below `paths`. Raises CorpusError.
    """
    final = cache / repository.name
    if final.is_dir():
        return final
    part = final.with_name(f"{final.name}.part")
    shutil.rmtree(part, ignore_errors=True)  # of a run that was killed
    part.mkdir(parents=True)
    url = f"{host.rstrip('/')}/{repository.name}"
    try:
        for command in (
            ("init", "--quiet"),
            ("remote", "add", "origin", url),
            ("sparse-checkout", "set", "--no-cone", *repository.paths),
            ("fetch", "--quiet", "--depth", "1", "--filter=blob:none", "origin", repository.commit),
            ("checkout", "--quiet", "--detach", repository.commit),
        ):
            git(part, *command)
        os.replace(part, final)
    except CorpusError as error:
        raise CorpusError(
            f"cannot get {url} at {repository.commit[:10]}: {error}. Without a network: clone it elsewhere, check that "
            f"commit out at DIR/{repository.name} and give --repositories DIR"
        ) from error
    finally:
        shutil.rmtree(part, ignore_errors=True)
    return final


def git(folder: Path, *arguments: str) -> str:
    """What git prints. Raises CorpusError with its last words; it never waits for a password."""
    try:
        done = subprocess.run(
            ["git", "-C", str(folder), *arguments],
            capture_output=True,
            text=True,
            check=False,
            env={**os.environ, "GIT_TERMINAL_PROMPT": "0", "GIT_LFS_SKIP_SMUDGE": "1"},
        )
    except FileNotFoundError as error:
        raise CorpusError("git is not installed") from error
    if done.returncode:
        said = done.stderr.strip().splitlines() or ["no message"]
        raise CorpusError(f"git {arguments[0]} failed ({said[-1]})")
    return done.stdout.strip()


def given(repository: Repository, folder: Path) -> Path:
    """The user's own clone: DIR/<owner>/<name> or DIR/<name>. Raises CorpusError; another commit is only told."""
    for place in (folder / repository.name, folder / repository.name.split("/")[1]):
        if place.is_dir():
            break
    else:
        raise CorpusError(
            f"no {repository.name} in {folder}: git clone https://github.com/{repository.name} "
            f"{folder / repository.name}, then git checkout {repository.commit} there"
        )
    if (place / ".git").exists() and (head := git(place, "rev-parse", "HEAD")) != repository.commit:
        console.label("note:", f"{place} is at {head[:10]}, the network was trained on {repository.commit[:10]}")
    return place


def trees(collection: Collection, request: Request) -> Trees:
    """The folders of all repositories that the collection needs."""
    needed = [collection.recordings]
    found: Trees = {}
    if request.transcripts is None:
        needed += collection.texts
    else:
        found["transcripts"] = request.transcripts
    for repository in needed:
        if request.repositories is not None:
            found[repository.name] = given(repository, request.repositories)
        else:
            with console.status(f"getting {repository.name}"):
                found[repository.name] = get(repository, request.out / ".repositories", request.host)
    return found


def convert(job: tuple[Spoken, Path]) -> tuple[Spoken, str]:
    """The recording with its audio as 16 kHz mono FLAC in the folder, made unless it is there; or what is wrong."""
    spoken, folder = job
    path = folder / f"{spoken.stem}.flac"
    try:
        if not path.is_file():
            audio = read_audio(spoken.audio)
            with replacing(path) as part:
                soundfile.write(part, audio, SAMPLE_RATE, format="FLAC", subtype="PCM_16")
    except CorpusError as error:
        return spoken, str(error)
    return replace(spoken, audio=path), ""


def converted(recordings: list[Spoken], folder: Path, jobs: int, problems: list[str]) -> Iterator[Spoken]:
    """All recordings that could be converted, in order; the others are named in `problems`."""
    folder.mkdir(parents=True, exist_ok=True)
    for leftover in folder.glob(LEFTOVERS):
        leftover.unlink()
    work = [(spoken, folder) for spoken in recordings]
    if jobs == 1:
        yield from _good(map(convert, work), problems)
        return
    with worker_pool(jobs) as pool:
        yield from _good(pool.imap(convert, work, chunksize=8), problems)


def _good(results: Iterable[tuple[Spoken, str]], problems: list[str]) -> Iterator[Spoken]:
    for spoken, problem in results:
        if problem:
            problems.append(f"{spoken.stem}: {problem}")
        else:
            yield spoken


def build(name: str, request: Request) -> tuple[PhoneTimes, list[str]]:
    """One collection from its repositories to phones.json; also what was left out, in words."""
    collection = COLLECTIONS[name]
    recordings = sorted(collection.find(trees(collection, request)), key=lambda spoken: spoken.stem)
    if request.limit and len(recordings) > request.limit:
        recordings = [recordings[k * len(recordings) // request.limit] for k in range(request.limit)]
    problems: list[str] = []
    with Progress(console=console) as bar:
        task = bar.add_task(f"{name}: 16 kHz", total=len(recordings))
        ready = []
        for spoken in converted(recordings, request.out / name / "audio", request.jobs, problems):
            ready.append(spoken)
            bar.advance(task)
        task = bar.add_task(f"{name}: phones", total=len(ready))
        times = write_phone_times(request.out / name, ready, request.jobs, lambda _: bar.advance(task))
    problems += [result.problem for result in times.failures]
    return times, problems


def get_takes(request: Request) -> str:
    """FACEGOOD's studio takes in OUT/facegood, as the repository has them; one line of summary. Raises CorpusError."""
    with console.status(f"getting {FACEGOOD.name}"):
        if request.repositories is not None:
            tree = given(FACEGOOD, request.repositories)
        else:
            tree = get(FACEGOOD, request.out / ".repositories", request.host)
    count = 0
    for pattern in FACEGOOD.paths:
        path = tree / pattern.lstrip("/")
        if not path.is_file():
            raise CorpusError(f"{tree} has no file {path.relative_to(tree)}: is the checkout complete?")
        copy = request.out / FACEGOOD_FOLDER / path.relative_to(tree).name
        if path.parent.name in ("bs_value", "wav"):
            copy = copy.parent / path.parent.name / path.name
        with replacing(copy, parents=True) as part:
            shutil.copyfile(path, part)
        count += path.parent.name == "wav"
    return f"{FACEGOOD_FOLDER}: {count} studio takes, MIT (LICENSE)"


def build_collections(names: Iterable[str], request: Request) -> Iterator[str]:
    """Builds collection after collection; yields one line of summary each, names what was left out on the console.

    Raises CorpusError. Interrupted, the same call goes on.
    """
    for name in names:
        if name == FACEGOOD_FOLDER:
            yield get_takes(request)
            continue
        times, problems = build(name, request)
        for problem in problems:
            console.label("left out", f"{name}/{problem}")
        aligned = [result for result in times.results.values() if not result.failed]
        hours = sum(result.phones[-1][2] for result in aligned) / 3600
        whole = len(aligned) + len(problems)
        yield f"{name}: {len(aligned)} of {whole} aligned, {hours:.2f} h, {COLLECTIONS[name].licence}"
    if (request.out / ".repositories").is_dir():
        console.print(f"{request.out / '.repositories'} is needed no more")
