"""`emotalk benchmark`: memory by clip length, time of a hop."""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path
from typing import Annotated

import typer


def register(app: typer.Typer) -> None:
    """Add the verb."""
    app.command("benchmark")(benchmark)


def benchmark(
    model: Annotated[
        str, typer.Argument(help="Model folder, or a preset (tiny, base, large) with random weights.")
    ] = "tiny",
    seconds: Annotated[
        str, typer.Option(help="Clip lengths in seconds, each in a process of its own; empty: none.")
    ] = "30,100,300",
    window: Annotated[float, typer.Option(help="Window of one hop in seconds; 0: no hop is timed.", min=0)] = 2.0,
    repeats: Annotated[int, typer.Option(help="Hops to time.", min=1)] = 100,
    threads: Annotated[int, typer.Option(help="Threads of torch.", min=1)] = 1,
    dtype: Annotated[str, typer.Option(help="float32 or bfloat16.")] = "float32",
    report: Annotated[Path | None, typer.Option(help="Also write the figures to this JSON file.")] = None,
) -> None:
    """Measure what a model costs on this machine: resident memory and time by clip length, time of one hop.

    The full-size network: `emotalk benchmark large --window 0`. It needs some minutes and up to 8 GB.
    """
    from rich.table import Table

    from emotalk_ros.model.benchmark import clip_cost, hop_cost
    from emotalk_ros.terminal import Terminal

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

        write_text(report, json.dumps(figures, indent=2) + "\n")
        console.print(f"figures in {report}")


def _lengths(text: str) -> list[float]:
    try:
        lengths = [float(part) for part in text.split(",") if part.strip()]
    except ValueError as error:
        raise typer.BadParameter(
            f"{text!r} is not a list of numbers like 30,100,300", param_hint="--seconds"
        ) from error
    if any(length <= 0 for length in lengths):
        raise typer.BadParameter(f"lengths must be positive, got {text!r}", param_hint="--seconds")
    return lengths
