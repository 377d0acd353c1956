"""`emotalk synthesize`: a training corpus of emotional speech with faces, from synthetic and real voices."""

from __future__ import annotations

import os
from enum import Enum
from pathlib import Path
from typing import Annotated

import typer


class Engine(str, Enum):
    """Speech synthesisers."""

    espeak = "espeak"
    kokoro = "kokoro"
    flite = "flite"
    festival = "festival"


def register(app: typer.Typer) -> None:
    """Add the verb."""
    app.command("synthesize")(synthesize)


def synthesize(
    out: Annotated[Path, typer.Argument(metavar="OUT", help="Folder of the corpus; an interrupted one is resumed.")],
    hours: Annotated[float, typer.Option(min=0.001, help="Hours of audio, about.")] = 1.0,
    actors: Annotated[int, typer.Option(min=1, help="Speakers; each acts in his own way.")] = 24,
    seed: Annotated[int, typer.Option(help="Same seed, same corpus, whatever the workers.")] = 0,
    workers: Annotated[int, typer.Option(min=0, help="Processes; 0: one per core.")] = 0,
    real: Annotated[
        list[Path] | None,
        typer.Option(help="Folder of real recordings (audio/ and phones.json) to make emotional; may be repeated."),
    ] = None,
    real_share: Annotated[
        float, typer.Option(min=0.0, max=1.0, help="Share of the actors with real voices, if there are any.")
    ] = 0.7,
    engine: Annotated[
        list[Engine] | None,
        typer.Option(help="Synthesiser of the other actors; may be repeated. Default: all found but kokoro (slow)."),
    ] = None,
    kokoro_voices: Annotated[
        Path | None,
        typer.Option(help="Folder of Kokoro's voices (npm kokoro-js: voices/*.bin); default: $EMOTALK_KOKORO_VOICES."),
    ] = None,
    sentences: Annotated[
        Path | None, typer.Option(help="Text for synthetic voices, a sentence a line. Default: the built-in list.")
    ] = None,
    languages: Annotated[
        str, typer.Option(help="What espeak-ng's (and Kokoro's) voices speak in turn: en,cmn,de,... or all.")
    ] = "en",
    portrayals: Annotated[
        int, typer.Option(min=1, max=15, help="Emotions and levels per sentence, beyond each actor's first two (15).")
    ] = 5,
    augmentation: Annotated[
        float, typer.Option(min=0.0, max=1.0, help="Rooms, noise, lines, microphones: 0 none, 1 as in the world.")
    ] = 1.0,
    level_db: Annotated[float, typer.Option(min=-60.0, max=-10.0, help="Mean level of neutral speech, dB.")] = -33.0,
    fps: Annotated[float, typer.Option(min=10.0, max=120.0, help="Frames per second of the faces.")] = 30.0,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Begin anew in a folder that holds a corpus.")] = False,
) -> None:
    """Make emotional speech with faces: 8 emotions at 2 levels, several sentences shared between them by each actor.

    Voices are real recordings made emotional by the WORLD vocoder (--real), made-up ones of espeak-ng, natural ones of
    Kokoro (--engine kokoro; docs/corpus.md says what it needs), and those of flite and festival where they are
    installed. Every clip comes with exact phone times and 52 coefficients per frame. Can be stopped with Ctrl-C and run
    again.
    """
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TimeRemainingColumn

    from emotalk_ros.corpus.espeak import SynthesizerUnavailableError
    from emotalk_ros.corpus.kokoro import VOICES_VARIABLE, shared_kokoro
    from emotalk_ros.corpus.sentences import default_sentences, known_languages, read_sentences
    from emotalk_ros.corpus.speech_engines import available_engines
    from emotalk_ros.corpus.synthesize import SynthesisSettings
    from emotalk_ros.corpus.synthesize import synthesize as run
    from emotalk_ros.files import no_space
    from emotalk_ros.terminal import Terminal, text_column

    console = Terminal()
    if kokoro_voices is not None:
        os.environ[VOICES_VARIABLE] = str(kokoro_voices)  # for the workers too
    found = available_engines()
    wanted = tuple(dict.fromkeys(e.value for e in engine or ())) or tuple(n for n in found if n != Engine.kokoro.value)
    missing = [name for name in wanted if name not in found]
    if missing == [Engine.kokoro.value]:
        try:
            shared_kokoro()
        except SynthesizerUnavailableError as error:
            console.label("error:", error)
            raise typer.Exit(2) from None
    if missing:
        have = ", ".join(found) or "none"
        console.label("error:", f"not installed: {', '.join(missing)} (found: {have}; apt install it)")
        raise typer.Exit(2)
    left_out = [e.value for e in Engine if e.value not in (*found, Engine.kokoro.value)]
    if not engine and left_out:
        console.print(f"not installed, left out: {', '.join(left_out)}")
    try:
        settings = SynthesisSettings(
            hours=hours,
            actors=actors,
            seed=seed,
            real=tuple(str(folder) for folder in real or ()),
            real_share=real_share,
            engines=wanted,
            languages=known_languages() if languages == "all" else tuple(filter(None, languages.split(","))),
            portrayals=portrayals,
            augmentation=augmentation,
            speech_db=level_db,
            fps=fps,
            sentences=read_sentences(sentences) if sentences else default_sentences(),
        )
        if overwrite:
            Terminal(stderr=True).replaces(out)
        columns = (BarColumn(), MofNCompleteColumn(), text_column("{task.fields[made]}"))
        with Progress(*columns, TimeRemainingColumn(), console=console) as progress:
            task = progress.add_task("sentences", total=None, made="")

            def on_job(done: int, total: int, seconds: float) -> None:
                progress.update(task, completed=done, total=total, made=f"{seconds / 3600:.2f} h of speech")

            result = run(out, settings, workers or os.cpu_count() or 1, on_job, overwrite)
    except KeyboardInterrupt:
        console.print(f"stopped; the same command goes on with {out}")
        raise typer.Exit(130) from None
    except (ValueError, ImportError, OSError) as error:
        console.label("error:", no_space(error) if isinstance(error, OSError) else error)
        raise typer.Exit(1) from None
    for problem in result.problems:
        console.label("left out:", problem)
    console.print(f"{out}: {result.clips} clips, {result.seconds / 3600:.2f} h")
