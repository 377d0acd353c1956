"""Get the recordings that the shipped network is trained on, and when each of their phones is said.

    python -m emotalk_ros.corpus.shipped.sources OUT [--jobs 2]

Gets five public collections (`collections`) from GitHub, each at the commit that was used and no more of it
than is needed, writes OUT/<collection>/audio/<name>.flac (16 kHz mono) and aligns each with its words by pocketsphinx:
OUT/<collection>/phones.json, what python -m emotalk_ros.corpus.shipped.corpora reads. Resumes where it was interrupted.

Needs git, pocketsphinx (the extra `corpus`) and, for words that its dictionary lacks, espeak-ng.
"""

from __future__ import annotations

import argparse
import multiprocessing
import os
import shutil
import subprocess
import sys
from collections.abc import Iterable, Iterator
from dataclasses import replace
from pathlib import Path

import soundfile
from rich.console import Console
from rich.markup import escape
from rich.progress import Progress

from emotalk_ros.corpus.phone_times import PhoneTimes, Spoken, write_phone_times
from emotalk_ros.corpus.readers.base import leave_interrupts_to_the_parent, read_audio
from emotalk_ros.corpus.shipped.collections import COLLECTIONS, Collection, Repository, Trees
from emotalk_ros.corpus.store import CorpusError
from emotalk_ros.files import LEFTOVERS, replacing
from emotalk_ros.units import SAMPLE_RATE

console = Console(stderr=True)


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
        console.print(
            f"[yellow]note:[/yellow] {place} is at {head[:10]}, the network was trained on {repository.commit[:10]}"
        )
    return place


def trees(collection: Collection, args: argparse.Namespace) -> Trees:
    """The folders of all repositories that the collection needs."""
    needed = [collection.recordings]
    found: Trees = {}
    if args.transcripts is None:
        needed += collection.texts
    else:
        found["transcripts"] = args.transcripts
    for repository in needed:
        if args.repositories is not None:
            found[repository.name] = given(repository, args.repositories)
        else:
            with console.status(f"getting {repository.name}"):
                found[repository.name] = get(repository, args.out / ".repositories", args.host)
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
    with multiprocessing.get_context("spawn").Pool(jobs, leave_interrupts_to_the_parent) as pool:
        yield from _good(pool.imap(convert, work, chunksize=8), problems)


def _good(results: Iterable[tuple[Spoken, str]], problems: list[str]) -> Iterator[Spoken]:
    for spoken, problem in results:
        if problem:
            problems.append(f"{spoken.stem}: {problem}")
        else:
            yield spoken


def build(name: str, args: argparse.Namespace) -> tuple[PhoneTimes, list[str]]:
    """One collection from its repositories to phones.json; also what was left out, in words."""
    collection = COLLECTIONS[name]
    recordings = sorted(collection.find(trees(collection, args)), key=lambda spoken: spoken.stem)
    if args.limit and len(recordings) > args.limit:
        recordings = [recordings[k * len(recordings) // args.limit] for k in range(args.limit)]
    problems: list[str] = []
    with Progress(console=console) as bar:
        task = bar.add_task(f"{name}: 16 kHz", total=len(recordings))
        ready = []
        for spoken in converted(recordings, args.out / name / "audio", args.jobs, problems):
            ready.append(spoken)
            bar.advance(task)
        task = bar.add_task(f"{name}: phones", total=len(ready))
        times = write_phone_times(args.out / name, ready, args.jobs, lambda _: bar.advance(task))
    problems += [result.problem for result in times.failures]
    return times, problems


def main(arguments: list[str] | None = None) -> int:
    """Collection after collection; the summary at the end names what was left out."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("out", type=Path, help="where the collections go (about 1 GB with the repositories)")
    parser.add_argument("--jobs", type=int, default=2, help="processes (default 2)")
    parser.add_argument(
        "--collections", nargs="+", choices=sorted(COLLECTIONS), default=sorted(COLLECTIONS), metavar="NAME",
        help=f"which ones (default all: {', '.join(sorted(COLLECTIONS))})",
    )  # fmt: skip
    parser.add_argument(
        "--repositories", type=Path, metavar="DIR", help="clones you have: DIR/<owner>/<name>, no network"
    )
    parser.add_argument(
        "--transcripts", type=Path, metavar="DIR", help="LibriSpeech's own *.trans.txt, instead of lists"
    )
    parser.add_argument("--host", default="https://github.com", help="where to clone from (a mirror, file://...)")
    parser.add_argument("--limit", type=int, metavar="N", help="only N recordings of each collection, for a trial")
    args = parser.parse_args(arguments)
    if args.jobs < 1 or (args.limit is not None and args.limit < 1):
        parser.error("--jobs and --limit must be at least 1")
    lines = []
    try:
        for name in args.collections:
            times, problems = build(name, args)
            for problem in problems:
                console.print(f"[yellow]left out[/yellow] {name}/{escape(problem)}", highlight=False, soft_wrap=True)
            aligned = [result for result in times.results.values() if not result.failed]
            hours = sum(result.phones[-1][2] for result in aligned) / 3600
            lines.append(f"{name}: {len(aligned)} of {len(aligned) + len(problems)} aligned, {hours:.2f} h, "
                         f"{COLLECTIONS[name].licence}")  # fmt: skip
    except KeyboardInterrupt:
        console.print("interrupted: the same command goes on from here", highlight=False)
        return 130
    except (CorpusError, OSError) as error:
        console.print(f"[red]error:[/red] {escape(str(error))}", highlight=False, soft_wrap=True)
        return 1
    print("\n".join(lines))
    if (args.out / ".repositories").is_dir():
        console.print(f"{args.out / '.repositories'} is needed no more", highlight=False)
    return 0


if __name__ == "__main__":
    sys.exit(main())
