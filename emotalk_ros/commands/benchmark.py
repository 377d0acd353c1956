"""`emotalk benchmark`: memory by clip length, time of a hop."""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from rich.table import Table

    from emotalk_ros.runtime.measure import Cost


def register(app: typer.Typer) -> None:
    """Add the verb."""
    app.command("benchmark")(benchmark)


def benchmark(
    model: Annotated[
        str | None,
        typer.Argument(
            help="Model folder, or a preset (tiny, base, large) with random weights; without: the table of backends."
        ),
    ] = None,
    seconds: Annotated[
        str, typer.Option(help="Clip lengths in seconds, each in a process of its own; empty: none.")
    ] = "30,100,300",
    window: Annotated[float, typer.Option(help="Window of one hop in seconds; 0: no hop is timed.", min=0)] = 2.0,
    repeats: Annotated[int, typer.Option(help="Hops to time.", min=1)] = 100,
    threads: Annotated[int, typer.Option(help="Threads of torch.", min=1)] = 1,
    dtype: Annotated[str, typer.Option(help="float32 or bfloat16.")] = "float32",
    report: Annotated[
        Path | None, typer.Option(help="Also write the figures to this JSON file; of the table: benchmark.json.")
    ] = None,
    models: Annotated[str, typer.Option(help="Of the table: shipped, tiny, base, large, folders.")] = "shipped,tiny",
    backends: Annotated[
        str, typer.Option(help="Of the table; torch first: others are compared to it.")
    ] = "torch,plain,onnx,onnx-int8,bfloat16",
    hops: Annotated[str, typer.Option(help="Of the table, in milliseconds.")] = "33,100,200,500",
    voices: Annotated[str, typer.Option(help="Of the table: voices in one pass, at the hop of 100 ms.")] = "1,4",
) -> None:
    """Measure what a model costs on this machine: resident memory and time by clip length, time of one hop.

    Without a model: one table of plain windows, of torch and ONNX Runtime that only compute what is new, for several
    hops and voices, with the difference to torch's output; and of the GPU, where there is one.

    The full-size network: `emotalk benchmark large --window 0`, or its hops in the table: `emotalk benchmark --models
    large --hops 200 --threads 2`. It needs some minutes and up to 8 GB.
    """
    from rich.table import Table

    from emotalk_ros.model.benchmark import clip_cost, hop_cost
    from emotalk_ros.terminal import Terminal

    if model is None:
        _table(models, backends, hops, voices, repeats, threads, report or Path("benchmark.json"))
        return
    if dtype not in ("float32", "bfloat16"):
        raise typer.BadParameter(f"{dtype!r} is not one of float32, bfloat16", param_hint="--dtype")
    lengths = _lengths(seconds)
    console = Terminal()
    figures: dict[str, object] = {"model": model, "threads": threads, "dtype": dtype}
    try:
        if window:
            with console.status(f"one hop of {model}, window {window:g} s"):
                hop = hop_cost(model, window, repeats, threads, dtype)
            figures["hop"] = asdict(hop)
            console.print(
                f"{model}: {hop.parameters / 1e6:.2f} M parameters; a hop of 0.1 s that hears {window:g} s takes "
                f"{hop.median_ms:.1f} ms (median), {hop.p99_ms:.1f} ms (p99) on {threads} thread(s); "
                f"such a window by itself {hop.alone_ms:.1f} ms"
            )
        table = Table("clip, s", "frames", "after loading, GiB", "peak resident, GiB", "time, s", "x real time")
        costs = []
        for length in lengths:
            with console.status(f"{length:g} s of audio through {model}"):
                cost = clip_cost(model, length, threads, dtype)
            costs.append(asdict(cost))
            speed = length / cost.pass_seconds
            row = (f"{length:g}", str(cost.frames), f"{cost.load_gib:.2f}", f"{cost.peak_gib:.2f}")
            table.add_row(*row, f"{cost.pass_seconds:.1f}", f"{speed:.1f}")
    except (ValueError, OSError, RuntimeError) as error:
        console.label("error:", error)
        raise typer.Exit(1) from error
    figures["clips"] = costs
    if lengths:
        console.print(table)
    if report is not None:
        from emotalk_ros.files import write_text

        Terminal(stderr=True).replaces(report)
        write_text(report, json.dumps(figures, indent=2) + "\n")
        console.print(f"figures in {report}")


def _lengths(text: str, option: str = "--seconds") -> list[float]:
    try:
        lengths = [float(part) for part in text.split(",") if part.strip()]
    except ValueError as error:
        raise typer.BadParameter(f"{text!r} is not a list of numbers like 30,100,300", param_hint=option) from error
    if any(length <= 0 for length in lengths):
        raise typer.BadParameter(f"lengths must be positive, got {text!r}", param_hint=option)
    return lengths


def _table(models: str, backends: str, hops: str, voices: str, repeats: int, threads: int, report: Path) -> None:
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TimeRemainingColumn

    from emotalk_ros.files import write_text
    from emotalk_ros.runtime import measure
    from emotalk_ros.terminal import Terminal, text_column

    ways = [name.strip() for name in backends.split(",") if name.strip()]
    unknown = sorted(set(ways) - set(measure.WAYS))
    if unknown:
        raise typer.BadParameter(f"{', '.join(unknown)}: use {', '.join(measure.WAYS)}", param_hint="--backends")
    names = [name.strip() for name in models.split(",") if name.strip()]
    lengths = [_exact(value / 1e3) for value in _lengths(hops, "--hops")]
    wanted = measure.cases(names, ways, lengths, [round(v) for v in _lengths(voices, "--voices")], repeats, threads)
    if measure.have_gpu():
        wanted += measure.gpu_cases(names, repeats)
    console, errors = Terminal(), Terminal(stderr=True)
    costs: list[measure.Cost] = []
    columns = (text_column("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with Progress(*columns, console=errors, transient=True) as progress:
        task = progress.add_task("", total=len(wanted))
        costs_of = measure.measure_all(wanted)
        for case in wanted:
            progress.update(task, description=f"{case.network} {case.way} {case.hop * 1e3:.0f} ms x {case.voices}")
            costs.append(next(costs_of))
            progress.advance(task)
    console.print(_shown(costs))
    errors.replaces(report)
    write_text(report, json.dumps(measure.figures(costs), indent=2) + "\n")
    console.print(f"figures in {report}")


def _shown(costs: list[Cost]) -> Table:
    from rich.table import Table

    table = Table(
        "network", "hop, ms", "voices", "way", "p50, ms", "p95", "p99", "CPU, ms", "real-time factor",
        "x plain", "memory, MB", "a voice, MB", "difference (mean)",
    )  # fmt: skip
    plain = {(c.case.network, c.case.hop): c.p50 for c in costs if c.case.way == "plain" and not c.problem}
    for cost in costs:
        case = cost.case
        way = case.way if case.device == "cpu" else f"{case.way} {case.device}"
        if case.emotion_every:
            way += f", emotion every {case.emotion_every:g} s"
        head = (case.network, f"{case.hop * 1e3:.0f}", str(case.voices), way)
        if cost.problem:
            table.add_row(*head, cost.problem)
            continue
        base = plain.get((case.network, case.hop))
        apart = "" if cost.difference is None else f"{cost.difference[0]:.1e} ({cost.difference[1]:.1e})"
        times = (f"{cost.p50:.1f}", f"{cost.p95:.1f}", f"{cost.p99:.1f}", f"{cost.cpu:.1f}", f"{cost.factor:.3f}")
        # Where not all hops are alike, their mean counts.
        typical = cost.factor * case.hop * 1e3 if case.emotion_every else cost.p50
        ratio = "" if base is None else f"{base * case.voices / typical:.1f}"
        table.add_row(*head, *times, ratio, f"{cost.resident_mb:.0f}", f"{cost.voice_mb:.1f}", apart)
    return table


def _exact(hop: float) -> float:
    """33 ms is written for a frame at 30 frames a second."""
    return 1 / 30 if abs(hop - 1 / 30) < 1e-3 else hop
