"""`emotalk evaluate`: models on a data set, offline and streamed, and the paper's table rebuilt."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

if TYPE_CHECKING:
    from emotalk_ros.evaluation.evaluate import Evaluation, Progress
    from emotalk_ros.evaluation.subject import Subject


def register(app: typer.Typer) -> None:
    """Add the verb."""
    app.command("evaluate")(evaluate)


def evaluate(
    paths: Annotated[
        list[Path],
        typer.Argument(
            metavar="MODEL... DATASET",
            help="Model folders, then a data set: a corpus, wav + npy, measured lips (wav + npz), RAVDESS or EMO-DB "
            "names. The data set alone evaluates the model that ships. With --table: the corpus to train on.",
        ),
    ],
    output: Annotated[Path, typer.Option("--output", "-o", help="Folder for the report.")] = Path("evaluation"),
    kind: Annotated[
        str | None, typer.Option(help="corpus, pairs, lips, ravdess or emodb; default: by what the folder holds.")
    ] = None,
    limit: Annotated[int | None, typer.Option(min=1, help="Evaluate at most so many clips, evenly spread.")] = None,
    style: Annotated[
        str, typer.Option(help="clip: animate in the person and level of each clip where known; fixed: in --person.")
    ] = "clip",
    mode: Annotated[str, typer.Option(help="offline (whole clips), streamed (as the node), or both.")] = "both",
    person: Annotated[int, typer.Option(help="Personal style, 0 to 23.")] = 0,
    level: Annotated[float, typer.Option(min=0.0, max=1.0, help="Intensity of the style.")] = 1.0,
    hop: Annotated[float, typer.Option(help="Streamed: seconds of audio per step.")] = 0.1,
    context: Annotated[float, typer.Option(help="Streamed: seconds heard before each step.")] = 2.0,
    lookahead: Annotated[
        float | None, typer.Option(help="Streamed: look-ahead; default: what the model needs.")
    ] = None,
    ear: Annotated[
        str,
        typer.Option(help="What hears the emotion: free, research, an ear's folder; none: the network's classifier."),
    ] = "free",
    face: Annotated[Path | None, typer.Option(help="Face for mm (npz, glTF, ...); default: built in.")] = None,
    jobs: Annotated[int, typer.Option("--jobs", "-j", min=1, help="Processes.")] = os.cpu_count() or 1,
    resamples: Annotated[int, typer.Option(min=1, help="Bootstrap draws for the confidence intervals.")] = 1000,
    seed: Annotated[int, typer.Option(help="Of the bootstrap.")] = 0,
    fresh: Annotated[
        bool, typer.Option("--fresh", help="Measure again what an earlier run left in the cache.")
    ] = False,
    html: Annotated[bool, typer.Option(help="Write report.html.")] = True,
    film: Annotated[bool, typer.Option(help="Render a typical clip into report.html (the slow part).")] = True,
    table: Annotated[
        Path | None,
        typer.Option(help="Rebuild the paper's table: train every row of this file (config/tables/paper.yaml)."),
    ] = None,
    cross_drive: Annotated[
        int | None,
        typer.Option(
            min=1, help="Measure disentangling instead: so many pairs, words of one clip, emotion of another."
        ),
    ] = None,
    split: Annotated[
        Path | None, typer.Option(help="Of a corpus: only the actors that this file (splits.yaml of a run) holds out.")
    ] = None,
) -> None:
    """Evaluate models: LVE, EVE, lips, emotions, with confidence intervals, per emotion and per actor.

    A face that never moves and a jaw driven by loudness stand beside every result. Results are kept clip by clip, so
    an interrupted run goes on where it stopped. Exit code 0: all clips counted; 2: some could not be read.
    """
    from emotalk_ros.terminal import Terminal

    errors = Terminal(stderr=True)
    try:
        from emotalk_ros.evaluation.subject import Subject
        from emotalk_ros.motion import MotionSettings
        from emotalk_ros.motion.stages.blinks import BlinkSettings
        from emotalk_ros.streaming import StreamSettings

        def subject(path: Path) -> Subject:
            stream = StreamSettings(hop, context, lookahead)
            motion = MotionSettings(blinks=BlinkSettings(on=False))
            return Subject(path, person, level, stream=stream, motion=motion, ear="" if ear == "none" else ear)

        if style not in ("clip", "fixed"):
            raise ValueError(f"--style {style!r}: expected clip or fixed")
        if mode not in ("offline", "streamed", "both"):
            raise ValueError(f"--mode {mode!r}: expected offline, streamed or both")
        if table is not None:
            failed = _table(table, paths, output, errors, jobs=jobs, limit=limit, face=face, html=html)
        elif cross_drive is not None:
            failed = _cross_drive(paths, cross_drive, split, output, errors, face=face, seed=seed)
        else:
            from emotalk_ros.evaluation.evaluate import Settings
            from emotalk_ros.model import default_model_path

            *models, dataset = paths
            modes = ("offline", "streamed") if mode == "both" else (mode,)
            only = None if split is None else held_out(dataset, split)
            settings = Settings(kind, limit, style, resamples, seed, jobs, fresh, modes, only)
            subjects = [subject(path) for path in models or [default_model_path()]]
            failed = run(subjects, dataset, output, settings, face=face, html=html, film=film, errors=errors)
    except (OSError, ValueError, RuntimeError) as error:
        errors.label("error:", error)
        raise typer.Exit(1) from None
    except KeyboardInterrupt:
        errors.print("interrupted: the clips measured so far are kept, the same command goes on from there")
        raise typer.Exit(130) from None
    if failed:
        raise typer.Exit(2)


def run(
    subjects: list[Subject],
    dataset: Path,
    output: Path,
    settings: Any,
    *,
    face: Path | None,
    html: bool,
    film: bool,
    errors: Any,
) -> bool:
    """Evaluate, write and print; returns whether clips failed."""
    from emotalk_ros.evaluation.evaluate import evaluate as measure_all
    from emotalk_ros.evaluation.plain_json import to_json
    from emotalk_ros.files import write_text
    from emotalk_ros.terminal import Terminal

    basis = chosen_face(face)
    with clip_progress(errors, "measuring") as progress:
        result = measure_all(subjects, dataset, basis, output / "cache", settings, progress)
    errors.replaces(output / "report.json")
    write_text(output / "report.json", to_json(result.findings))
    console = Terminal()
    show(result, console)
    console.print(f"wrote {output / 'report.json'}")
    if html:
        from emotalk_ros.evaluation.datasets import open_dataset
        from emotalk_ros.reports.evaluation import evaluation_page
        from emotalk_ros.reports.example import example_section

        with errors.status("drawing the report"):
            data = open_dataset(dataset, settings.kind, settings.limit, settings.only)
            example = example_section(subjects, result, data, basis, film=film)
            write_text(output / "report.html", evaluation_page(dataset.resolve().name, result, example))
        console.print(f"wrote {output / 'report.html'}")
    for failure in result.failed:
        errors.label("left out:", failure)
    return bool(result.failed)


def held_out(corpus: Path, split: Path) -> frozenset[str]:
    """Names of the clips of a corpus whose actors a split file holds out.

    Raises ValueError where there are none.
    """
    from emotalk_ros.corpus.store import Corpus
    from emotalk_ros.training.splits import read_split

    sides = read_split(split)
    found = frozenset(r.id for r in Corpus.open(corpus).records if sides.side(r) in ("validation", "test"))
    if not found:
        raise ValueError(f"{split} holds out no actor of {corpus}")
    return found


def chosen_face(path: Path | None) -> Any:
    """The built-in face, or the one in `path`."""
    from emotalk_ros import face

    return face.default_face() if path is None else face.read_basis(path)


@contextmanager
def clip_progress(console: Any, title: str) -> Iterator[Progress]:
    """A bar over clips; says how many came from an earlier run."""
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TimeRemainingColumn

    from emotalk_ros.terminal import text_column

    columns = (text_column("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with Progress(*columns, console=console, transient=True) as bar:
        task = bar.add_task(title, total=None)

        def update(done: int, total: int, cached: int) -> None:
            text = f"{title} ({cached} from an earlier run)" if cached else title
            bar.update(task, completed=done, total=total, description=text)

        yield update


def screen_table(title: str, names: int, figures: list[str]) -> Any:
    """A table for a terminal: `names` text columns that wrap, and figures that are never cut short."""
    from rich.box import SIMPLE_HEAD
    from rich.table import Table

    table = Table(title=title, title_justify="left", box=SIMPLE_HEAD, pad_edge=False)
    for k in range(names):
        table.add_column("", min_width=8 if k else 14)
    for head in figures:
        table.add_column(head, justify="right", min_width=5)
    return table


def show(result: Evaluation, console: Any) -> None:
    """The results on one screen."""
    from emotalk_ros.reports.evaluation import FIGURES

    left_out = {"mve_mm", "fdd_mm", "closure_rate_in_speech", "best_lag_s"}
    rows = [row for row in result.findings["rows"] if row["group"] == "all"]
    if any("closure_rate_full" in row["figures"] for row in rows):
        left_out |= {"closure_rate", "lip_jitter_m_s3"}  # the screen has no room for every limit
    shown = [f for f in FIGURES if f[0] not in left_out and any(_known(row["figures"].get(f[0])) for row in rows)]
    clips = result.findings["dataset"]["clips"]
    table = screen_table(f"{clips} clips; intervals are in the report", 2, [label for _, label, _ in shown])
    for row in rows:
        cells = [_cell(row["figures"].get(key), digits) for key, _, digits in shown]
        table.add_row(row["row"], row["mode"], *cells)
    if shown:
        console.print(table)
    show_widths(result, console)
    for entry in result.findings["recognition"]:
        console.print(
            f"{entry['model']} {entry['mode']}, heard by {entry['heard_by']}: emotion UAR {entry['uar']:.3f} (chance "
            f"{entry['chance_uar']:.3f}, of the labels present {entry['uar_of_present']:.3f}), arousal "
            f"{entry['arousal_balanced']:.3f}, calibration error {entry['calibration_error']:.3f}",
            highlight=False,
            soft_wrap=True,
        )


def show_widths(result: Evaluation, console: Any) -> None:
    """How far the mouth moves, beside a captured one."""
    from emotalk_ros.evaluation.metrics.spread import CAPTURED
    from emotalk_ros.reports.evaluation import widths_text

    for entry in result.findings["distribution"]:
        title = f"{entry['model']} {entry['mode']}: p50, p90, p99 over all frames (*: not within a quarter of captured)"
        table = screen_table(title, 1, ["made", "captured"])
        for name, captured in CAPTURED.items():
            made = widths_text(entry["percentiles"][name], entry["near_captured"][name])
            table.add_row(name, made, widths_text(captured))
        console.print(table)


def _known(figure: Any) -> bool:
    return figure is not None and figure[0] is not None and figure[0] == figure[0]


def _cell(figure: Any, digits: int) -> str:
    return f"{figure[0]:.{digits}f}" if _known(figure) else "–"


def _table(
    path: Path,
    paths: list[Path],
    output: Path,
    errors: Any,
    *,
    jobs: int,
    limit: int | None,
    face: Path | None,
    html: bool,
) -> bool:
    """The paper's table; returns whether clips failed."""
    from emotalk_ros.evaluation import paper_table
    from emotalk_ros.evaluation.plain_json import to_json
    from emotalk_ros.files import write_text
    from emotalk_ros.reports.paper_table import SHOWN, table_page
    from emotalk_ros.terminal import Terminal

    if len(paths) != 1:
        raise ValueError("--table takes one corpus folder and no models: it trains them itself")
    table, corpus = paper_table.read_table(path), paths[0]

    def say(text: str) -> None:
        errors.print(text, style="bold")

    subjects, held_out = paper_table.train_table(table, corpus, output, console=errors, say=say)
    say(f"measuring on {len(held_out) if limit is None else min(limit, len(held_out))} clips of actors held out")
    with clip_progress(errors, "measuring") as progress:
        result = paper_table.measure_table(
            table, subjects, held_out, corpus, output, chosen_face(face), jobs=jobs, limit=limit, progress=progress
        )
    found = paper_table.table_findings(table, result)
    errors.replaces(output / "table.json")
    write_text(output / "table.json", to_json(found))
    console = Terminal()
    _show_table(found, SHOWN, console)
    console.print(f"wrote {output / 'table.json'}")
    if html:
        write_text(output / "table.html", table_page(found))
        console.print(f"wrote {output / 'table.html'}")
    return bool(result.failed)


def _show_table(found: dict[str, Any], shown: tuple[tuple[str, str], ...], console: Any) -> None:
    shown = tuple(column for column in shown if column[0] not in ("fdd_mm", "closure_rate_tight"))
    heads = [*(label for _, label in shown), "paper LVE", "paper EVE"]
    table = screen_table("measured, and the paper's figures (RAVDESS)", 1, heads)
    for row in [*found["rows"], *found["references"]]:
        published = row.get("paper", {}).get("RAVDESS")
        cells = [_cell(row["figures"].get(key), 3) for key, _ in shown]
        cells += [f"{published[k]:.3f}" if published else "–" for k in ("lve_mm", "eve_mm")]
        table.add_row(row["name"], *cells)
    console.print(table)


def _cross_drive(
    paths: list[Path], count: int, split: Path | None, output: Path, errors: Any, *, face: Path | None, seed: int
) -> bool:
    """Content of one clip, emotion of another; prints and writes OUTPUT/disentangling.json."""
    from emotalk_ros.corpus.store import Corpus
    from emotalk_ros.evaluation import disentangling
    from emotalk_ros.evaluation.plain_json import to_json
    from emotalk_ros.evaluation.subject import Subject
    from emotalk_ros.files import write_text
    from emotalk_ros.model import default_model_path
    from emotalk_ros.terminal import Terminal
    from emotalk_ros.training.splits import read_split

    *models, folder = paths
    corpus = Corpus.open(folder)
    if split is not None:
        sides = read_split(split)
        corpus = corpus.select(lambda record: sides.side(record) in ("validation", "test"))
    pairs = disentangling.draw_pairs(corpus.records, count, seed)
    basis = chosen_face(face)
    found: dict[str, Any] = {}
    for path in models or [default_model_path()]:
        subject = Subject(path)
        with clip_progress(errors, subject.name) as progress:
            found[subject.name] = disentangling.measure(
                subject.load(), corpus, pairs, basis, lambda done, total: progress(done, total, 0), seed
            )
    table = screen_table(
        f"{len(pairs)} pairs, words of one clip with the emotion of another: lips in mm; share of faces that are "
        "nearer to the model's own face of the second clip than of the first (moves), nearer to the second clip's "
        "emotion than to the first's, and nearest to it of all (of the labels themselves: last column)",
        1,
        ["LVE own", "crossed", "ratio", "moves", "nearer", "nearest", "labels"],
    )
    for name, row in found.items():
        keys = ("lve_own_mm", "lve_cross_mm", "follows_own", "follows", "follows_of_all", "labels_follow_of_all")
        own, cross, moves, two, every, labels = (_cell(row[key], 3) for key in keys)
        table.add_row(name, own, cross, f"{row['lve_ratio']:.3f}", moves, two, every, labels)
    Terminal().print(table)
    errors.replaces(output / "disentangling.json")
    write_text(output / "disentangling.json", to_json(found))
    Terminal().print(f"wrote {output / 'disentangling.json'}")
    return False
