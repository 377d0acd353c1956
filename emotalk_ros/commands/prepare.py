"""`emotalk prepare`: recordings of other people's layouts become a corpus."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from emotalk_ros.corpus.readers import Item, Problem, Summary
    from emotalk_ros.terminal import Terminal

app = typer.Typer(
    help="Turn recordings into a training corpus: each bad file is named, the rest is kept.", no_args_is_help=True
)

Source = Annotated[Path, typer.Argument(help="Folder of the recordings.", show_default=False)]
Out = Annotated[Path, typer.Argument(help="Folder of the corpus to write.", show_default=False)]
Fps = Annotated[float, typer.Option(help="Coefficient frames per second of the corpus (or of .npy files).")]
Append = Annotated[bool, typer.Option("--append", help="Add to the corpus in OUT, or finish an interrupted one.")]
Licence = Annotated[str, typer.Option(help="Licence of the recordings, for model cards.")]
Attribution = Annotated[str, typer.Option(help="Whom to credit, for model cards.")]
Jobs = Annotated[int, typer.Option(min=1, help="Processes that work side by side.")]
Coefficients = Annotated[Path | None, typer.Option(help="Folder of the coefficients; default: beside the audio.")]


def register(root: typer.Typer) -> None:
    """Adds the verb `prepare` with one sub-verb a layout."""
    root.add_typer(app, name="prepare")


@app.command()
def etf(
    source: Source,
    out: Out,
    fps: Fps = 30.0,
    jobs: Jobs = 1,
    append: Append = False,
    licence: Licence = "3D-ETF, research only",
    attribution: Attribution = "3D-ETF (Peng et al. 2023); RAVDESS; HDTF",
) -> None:
    """The 3D-ETF data set: {RAVDESS,HDTF}/{audio/*.wav,blendshape/*.npy}."""
    from emotalk_ros.corpus.readers import read_etf

    _run(lambda: read_etf(source, fps), out, jobs, append, ("RAVDESS", "HDTF"), licence, attribution)


@app.command()
def ravdess(
    source: Source,
    out: Out,
    coefficients: Coefficients = None,
    fps: Fps = 30.0,
    jobs: Jobs = 1,
    append: Append = False,
    licence: Licence = "CC BY-NC-SA 4.0",
    attribution: Attribution = "RAVDESS (Livingstone and Russo 2018)",
) -> None:
    """RAVDESS speech with coefficients of the same name (without any: `prepare aligned` makes rule labels)."""
    from emotalk_ros.corpus.readers import read_ravdess

    _run(lambda: read_ravdess(source, coefficients, fps), out, jobs, append, ("RAVDESS",), licence, attribution)


@app.command()
def livelink(
    source: Source,
    out: Out,
    fps: Fps = 30.0,
    offset: Annotated[float, typer.Option(help="Seconds the sound starts before the first frame.")] = 0.0,
    jobs: Jobs = 1,
    append: Append = False,
    licence: Licence = "own recordings",
    attribution: Attribution = "",
) -> None:
    """Takes of Live Link Face: CSV files with sound (or the take's movie) of the same name."""
    from emotalk_ros.corpus.readers import read_livelink

    _run(lambda: read_livelink(source, fps, offset), out, jobs, append, ("livelink",), licence, attribution)


@app.command()
def facegood(
    source: Source,
    out: Out,
    jobs: Jobs = 1,
    append: Append = False,
) -> None:
    """Studio takes of FACEGOOD-Audio2Face: the repository, or <take>.npz with sound; the rig's weights as ARKit's."""
    from emotalk_ros.corpus.readers import read_facegood
    from emotalk_ros.corpus.readers.facegood import SOURCE

    _run(lambda: read_facegood(source), out, jobs, append, (SOURCE.name,), SOURCE.licence, SOURCE.attribution)


@app.command()
def pairs(
    source: Source,
    out: Out,
    coefficients: Coefficients = None,
    fps: Fps = 30.0,
    name: Annotated[str, typer.Option(help="What to call this source.")] = "pairs",
    jobs: Jobs = 1,
    append: Append = False,
    licence: Licence = "unknown",
    attribution: Attribution = "",
) -> None:
    """Audio files with .npy, .npz or .csv coefficients of the same name; metadata.csv may tell actor and emotion."""
    from emotalk_ros.corpus.readers import read_pairs

    _run(lambda: read_pairs(source, coefficients, fps, name), out, jobs, append, (name,), licence, attribution)


@app.command()
def aligned(
    source: Source,
    out: Out,
    layout: Annotated[str, typer.Option(help="auto, phones, librispeech, ljspeech, text or ravdess.")] = "auto",
    fps: Fps = 30.0,
    name: Annotated[str | None, typer.Option(help="What to call this source; default: the folder's name.")] = None,
    speaker: Annotated[
        str | None,
        typer.Option(help="'one', 'folder', or a regular expression whose group in the name is the speaker."),
    ] = None,
    jobs: Jobs = 1,
    append: Append = False,
    licence: Licence = "unknown",
    attribution: Attribution = "",
) -> None:
    """Transcribed speech: phones from phones.json or by forced alignment (pocketsphinx), labels by rule."""
    from emotalk_ros.corpus.readers import read_aligned

    title = name or source.resolve().name
    _run(lambda: read_aligned(source, layout, fps, title, speaker), out, jobs, append, (title,), licence, attribution)


@app.command()
def phones(
    source: Source,
    layout: Annotated[str, typer.Option(help="auto, librispeech, ljspeech, text or ravdess.")] = "auto",
    jobs: Jobs = 1,
) -> None:
    """Phone times of transcribed speech by forced alignment: SOURCE/phones.json, which other verbs read."""
    from rich.progress import Progress

    from emotalk_ros.corpus.phone_times import PHONES, Spoken, write_phone_times
    from emotalk_ros.corpus.readers.aligned import Utterance, find_utterances
    from emotalk_ros.terminal import Terminal

    console = Terminal(stderr=True)
    with _reporting(console, "interrupted: the same command goes on from here"):
        found = find_utterances(source, layout, timed=False)
        spoken = [Spoken(u.stem, u.audio, u.text) for u in found if isinstance(u, Utterance)]
        with Progress(console=console, transient=True) as bar:
            task = bar.add_task("aligning", total=len(spoken))
            times = write_phone_times(source, spoken, jobs, lambda _: bar.advance(task))
    left_out = [f"{p.name}: {p.reason}" for p in found if not isinstance(p, Utterance)]
    left_out += [result.problem for result in times.failures]
    for text in left_out:
        console.label("left out", text)
    aligned = len(times.results) - len(times.failures)
    console.print(f"{aligned} aligned ({times.kept_before} of them before), {len(left_out)} left out")
    if not aligned:
        raise typer.Exit(1)
    typer.echo(source / PHONES)


@app.command()
def video(
    source: Source,
    out: Out,
    model: Annotated[Path, typer.Option(help="MediaPipe's face_landmarker.task.", show_default=False)],
    fps: Fps = 30.0,
    speaker: Annotated[str, typer.Option(help="'folder' (each sub-folder an actor) or 'file'.")] = "folder",
    jobs: Jobs = 1,
    append: Append = False,
    licence: Licence = "unknown",
    attribution: Attribution = "",
) -> None:
    """Videos of talking faces: coefficients by MediaPipe, sound by ffmpeg."""

    def items() -> Iterable[Item | Problem]:
        from emotalk_ros.corpus.video import read_video

        return read_video(source, model, fps, speaker)

    _run(items, out, jobs, append, ("video", "RAVDESS"), licence, attribution)


@app.command("motion-range")
def motion_range(
    takes: Annotated[list[Path], typer.Argument(help="CSV files of Live Link Face.", show_default=False)],
    out: Annotated[Path | None, typer.Option(help="Keep what was measured here (.npz).")] = None,
    check: Annotated[Path | None, typer.Option(help="A corpus to hold against it.")] = None,
) -> None:
    """How far each coefficient of a captured face goes and which go together; and how a corpus compares."""
    import numpy as np

    from emotalk_ros.corpus.motion_range import MotionRange
    from emotalk_ros.corpus.readers import read_livelink_csv
    from emotalk_ros.corpus.store import Corpus
    from emotalk_ros.face.names import ARKIT_NAMES, MOUTH
    from emotalk_ros.terminal import Terminal

    errors = Terminal(stderr=True)
    with _reporting(errors, "interrupted"):
        found = MotionRange.measure(np.concatenate([read_livelink_csv(take) for take in takes]))
        for name, values in zip(ARKIT_NAMES, found.percentiles.T, strict=True):
            friends = ", ".join(f"{other} {r:+.2f}" for other, r in list(found.companions(name).items())[:4])
            typer.echo(f"{name:20s} " + " ".join(f"{value:.2f}" for value in values) + f"   {friends}")
        if out is not None:
            errors.replaces(out)
            found.save(out)
        if check is not None:
            corpus = Corpus.open(check)
            faces = np.concatenate([corpus.read_coefficients(k) for k in range(len(corpus))])
            mouth = tuple(ARKIT_NAMES[k] for k in MOUTH)
            away = found.distance(faces, mouth)
            typer.echo(f"{check}: {len(faces)} frames, {away.mean():.2f} from the captured mouth on average")
            for name, share in found.beyond(faces).items():
                typer.echo(f"{name} beyond the capture in {share:.2%} of the frames")


@app.command("shipped-sources")
def shipped_sources(
    out: Annotated[
        Path, typer.Argument(help="Where the collections go (about 1 GB with the repositories).", show_default=False)
    ],
    collections: Annotated[
        list[str] | None, typer.Option("--collection", help="Only this one (may be repeated); default: all six.")
    ] = None,
    repositories: Annotated[
        Path | None, typer.Option(help="Clones you have, DIR/<owner>/<name>: nothing is downloaded.")
    ] = None,
    transcripts: Annotated[
        Path | None, typer.Option(help="LibriSpeech's own *.trans.txt, instead of lists of its sentences.")
    ] = None,
    host: Annotated[str, typer.Option(help="Where to clone from: a mirror, or file://...")] = "https://github.com",
    limit: Annotated[int | None, typer.Option(min=1, help="Only so many recordings of each, for a trial.")] = None,
    jobs: Jobs = 2,
) -> None:
    """The recordings that the network that ships is trained on, from GitHub, with the time of each phone."""
    from emotalk_ros.corpus.shipped.collections import COLLECTIONS
    from emotalk_ros.corpus.shipped.sources import FACEGOOD_FOLDER, Request, build_collections, console

    known = sorted([*COLLECTIONS, FACEGOOD_FOLDER])
    names = sorted(collections or known)
    for name in names:
        if name not in known:
            raise typer.BadParameter(f"{name!r} is none of {', '.join(known)}", param_hint="--collection")
    with _reporting(console, "interrupted: the same command goes on from here"):
        for line in build_collections(names, Request(out, jobs, repositories, transcripts, host, limit)):
            typer.echo(line)


@app.command("shipped-corpora")
def shipped_corpora(
    source: Annotated[Path, typer.Argument(help="What `prepare shipped-sources` wrote.", show_default=False)],
    out: Annotated[Path, typer.Argument(help="Where the corpora go, each in its folder.", show_default=False)],
    per_actor: Annotated[int, typer.Option(min=0, help="Phrases of a named speaker to recolour.")] = 2,
    portrayals: Annotated[int, typer.Option(min=1, help="Emotions of a named speaker; the others get half.")] = 6,
    voices: Annotated[int, typer.Option(min=1, help="Voices to recolour: the own one and made-up ones of it.")] = 1,
    speech_db: Annotated[float, typer.Option(help="Level of neutral speech, dB re full scale RMS.")] = -40.0,
    kokoro_hours: Annotated[
        float, typer.Option(min=0.0, help="Natural synthetic speech (extra `kokoro`), about.")
    ] = 0.0,
    kokoro_voices: Annotated[
        Path | None,
        typer.Option(help="Folder of Kokoro's voices (npm kokoro-js: voices/*.bin); default: $EMOTALK_KOKORO_VOICES."),
    ] = None,
    packed: Annotated[bool, typer.Option("--packed", help="A fifth of the size: Opus, 8-bit coefficients.")] = False,
    seed: Annotated[int, typer.Option(help="Of all random choices.")] = 0,
    jobs: Jobs = 2,
) -> None:
    """The corpora of the network that ships: real voices, Kokoro's, both recoloured into emotions, and studio takes."""
    from rich.progress import Progress

    from emotalk_ros.corpus.shipped.corpora import Choices, build_corpora
    from emotalk_ros.terminal import Terminal

    console = Terminal(stderr=True)
    choices = Choices(jobs, seed, per_actor, portrayals, voices, speech_db, kokoro_hours, kokoro_voices, packed)
    with (
        _reporting(console, "interrupted: the same command goes on from here"),
        Progress(console=console, transient=True) as bar,
    ):
        task = bar.add_task("recordings", total=None)
        built = build_corpora(source, out, choices, lambda done, total: bar.update(task, completed=done, total=total))
    for problem in built.problems:
        console.label("left out", problem)
    hours = ", ".join(f"{name} {hours:.2f} h" for name, hours in built.hours.items())
    typer.echo(f"{hours}; {len(built.problems)} recordings left out")


@contextmanager
def _reporting(console: Terminal, interrupted: str, clean_up: Callable[[], object] = lambda: None) -> Iterator[None]:
    """Errors and Ctrl-C inside the block become a message and an exit code, after `clean_up`."""

    from emotalk_ros.corpus.espeak import SynthesizerUnavailableError

    try:
        yield
    except KeyboardInterrupt:
        clean_up()
        console.print(interrupted)
        raise typer.Exit(130) from None
    except (ValueError, SynthesizerUnavailableError, OSError) as error:
        clean_up()
        console.label("error:", error)
        raise typer.Exit(1) from error


def _run(
    items: Callable[[], Iterable[Item | Problem]],
    out: Path,
    jobs: int,
    append: bool,
    sources: tuple[str, ...],
    licence: str,
    attribution: str,
) -> None:
    """Reads all items into the corpus `out` under a progress bar, and prints what came of it."""
    from rich.progress import Progress

    from emotalk_ros.corpus.readers import Item, prepare
    from emotalk_ros.corpus.store import CorpusWriter, Source
    from emotalk_ros.terminal import Terminal

    console = Terminal(stderr=True)
    again = f"interrupted: go on with --append (clips so far are in {out})"
    with _reporting(console, again):
        listed = list(items())
        kept = [Source(name, licence, attribution) for name in sources]
        writer = CorpusWriter(out, kept, mode="append" if append else "new")
    # No refreshing thread: the processes of --jobs are forked from this one.
    with (
        _reporting(console, again, writer.close),
        Progress(console=console, transient=True, auto_refresh=False) as bar,
    ):
        task = bar.add_task("reading", total=len(listed))

        def advance(_: str) -> None:
            bar.advance(task)
            bar.refresh()

        summary = prepare(listed, writer, advance, jobs)
    writer.keep_sources({record.source for record in writer.records})  # the others do not belong in a model card
    found = sum(isinstance(entry, Item) for entry in listed)
    _report(console, summary, found)
    if not writer.records:
        writer.discard()
        console.label("error:", f"nothing usable was found: no corpus written to {out}")
        raise typer.Exit(1)
    writer.finish()
    typer.echo(out)


def _report(console: Terminal, summary: Summary, found: int) -> None:
    """What was left out and why, then what was kept."""
    from rich.table import Table

    for problem in summary.problems:
        console.label("left out", f"{problem.name}: {problem.reason}")
    totals = Table("clips", "left out", "hours", "frames", "actors", "emotions", title="prepared")
    emotions = ", ".join(f"{name} {count}" for name, count in sorted(summary.emotions.items()))
    totals.add_row(
        f"{summary.clips} of {found}" + (f" (+ {summary.kept_before} before)" if summary.kept_before else ""),
        str(len(summary.problems)),
        f"{summary.seconds / 3600:.2f}",
        str(summary.frames),
        str(len(summary.actors)),
        emotions,
    )
    console.print(totals)
