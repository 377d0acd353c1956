#!/usr/bin/env python3
"""Everything that reads what comes from outside, with 100 000 damaged cases of a fixed seed.

    scripts/fuzz.py                              100 000 cases, some minutes
    scripts/fuzz.py --cases 2000 bags networks   so many in all, these targets only

Each target runs in processes of its own with a limit of memory (RLIMIT_AS, so much above what it needs without a case),
and is watched: a case that takes longer than 5 s of the processor (or a minute in all) is a hang, a process that dies
is a crash, and so is every error that is not the reader's own. The smallest case of each fault is printed. Targets and
cases: test/support/fuzzing.py. Exit status 1: a crash, a hang, or memory beyond the limit.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import multiprocessing
import os
import resource
import signal
import sys
import time
import traceback
import warnings
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
sys.path[:0] = [str(ROOT), str(ROOT / "test" / "support")]
PIECE = 5000
"""Cases that one process takes at most: hypothesis keeps what it has tried."""


class HangError(BaseException):
    """A case took too long; no `except Exception` of a reader swallows it."""


def child(name: str, seed: int, count: int, limits: argparse.Namespace, pipe: Any) -> None:
    """Take `count` cases of a target; tells faults, and what it does at the moment, through the pipe."""
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    warnings.simplefilter("ignore")
    import hypothesis
    from fuzzing import TARGETS, scratch

    target = TARGETS[name]
    quiet = os.open(os.devnull, os.O_WRONLY)
    os.dup2(quiet, 1)
    os.dup2(quiet, 2)
    done = 0
    slowest = 0.0

    def out_of_time(number: int, frame: object) -> None:
        raise HangError

    signal.signal(signal.SIGALRM, out_of_time)
    signal.signal(signal.SIGPROF, out_of_time)

    def one(case: Any) -> None:
        nonlocal done, slowest
        if done == 3:  # everything is imported, and made
            size = int(Path("/proc/self/statm").read_text().split()[0]) * os.sysconf("SC_PAGE_SIZE")
            most = size + limits.memory * 2**20
            resource.setrlimit(resource.RLIMIT_AS, (most, most))
        done += 1
        if done > count:
            return
        shown = repr(case)
        pipe.send(("case", done, shown[:2000]))
        begin = time.process_time()
        signal.setitimer(signal.ITIMER_PROF, limits.seconds if done > 3 else 120.0)
        signal.setitimer(signal.ITIMER_REAL, 12 * limits.seconds if done > 3 else 600.0)
        try:
            target.take(case)
        except HangError:
            pipe.send(("fault", "hang", f"longer than {limits.seconds:g} s", shown))
        except MemoryError as error:
            pipe.send(("fault", "memory", _where(error), shown))
        except Exception as error:
            pipe.send(("fault", "crash", f"{type(error).__name__}: {str(error)[:200]} @ {_where(error)}", shown))
        finally:
            signal.setitimer(signal.ITIMER_PROF, 0.0)
            signal.setitimer(signal.ITIMER_REAL, 0.0)
            if done > 3:
                slowest = max(slowest, time.process_time() - begin)

    # A round of hypothesis ends early where it finds nothing new: then another one begins.
    turn = 0
    while done < count:
        before = done
        test = hypothesis.given(target.cases)(one)
        test = hypothesis.settings(
            max_examples=count - done,
            database=None,
            deadline=None,
            derandomize=False,
            phases=[hypothesis.Phase.generate],
            suppress_health_check=list(hypothesis.HealthCheck),
        )(test)
        hypothesis.seed(seed * 1_000_003 + turn)(test)()
        turn += 1
        if done == before:
            break
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    import shutil

    shutil.rmtree(scratch(), ignore_errors=True)
    pipe.send(("end", done, slowest, peak))


def _where(error: BaseException) -> str:
    """The innermost line of this package, and the innermost of all."""
    frames = traceback.extract_tb(error.__traceback__)
    own = [frame for frame in frames if "emotalk_ros" in frame.filename and "site-packages" not in frame.filename]
    parts = [f"{Path(f.filename).name}:{f.lineno} {f.name}" for f in ([own[-1]] if own else []) + [frames[-1]]]
    return " < ".join(dict.fromkeys(parts))


def run_piece(name: str, seed: int, count: int, limits: argparse.Namespace, row: dict[str, Any]) -> None:
    """One process; its figures and faults go into `row`."""
    context = multiprocessing.get_context("spawn")
    ours, theirs = context.Pipe(duplex=False)
    process = context.Process(target=child, args=(name, seed, count, limits, theirs))
    process.start()
    theirs.close()
    at, shown, last = 0, "", time.monotonic()
    try:
        while True:
            # What hangs in C code hears no alarm.
            if not ours.poll(limits.seconds * 24 + (600.0 if at <= 3 else 0.0)):
                process.kill()
                _fault(row, "hang", f"no sign for {time.monotonic() - last:.0f} s", shown)
                break
            kind, *values = ours.recv()
            last = time.monotonic()
            if kind == "case":
                at, shown = values
                row["cases"] += at <= count
            elif kind == "fault":
                _fault(row, *values)
            else:
                _, slowest, peak = values
                row["slowest"], row["peak"] = max(row["slowest"], slowest), max(row["peak"], peak)
                break
    except EOFError:
        process.join(10)
        _fault(row, "crash", f"the process died with {process.exitcode}", shown)
    finally:
        process.join(20)
        if process.is_alive():
            process.kill()


def _fault(row: dict[str, Any], kind: str, what: str, case: str) -> None:
    row[kind] += 1
    # Figures of a message do not make another fault.
    key = f"{kind}: {what}" if "@" not in what else f"{kind}: {what.split(':')[0]} @ {what.split('@', 1)[1].strip()}"
    known = row["faults"].setdefault(key, {"times": 0, "what": what, "case": case})
    known["times"] += 1
    if len(case) < len(known["case"]):
        known["what"], known["case"] = what, case


def main() -> int:
    """Parse, run, print."""
    from fuzzing import TARGETS

    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("targets", nargs="*", metavar="TARGET", help="one of: " + ", ".join(TARGETS))
    parser.add_argument("--cases", type=int, default=sum(t.share for t in TARGETS.values()), help="in all (100 000)")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument(
        "--seconds", type=float, default=5.0, help="of the processor; a case that takes longer is a hang"
    )
    parser.add_argument("--memory", type=int, default=1024, help="MiB that cases may take beyond what the reader needs")
    parser.add_argument("--json", type=Path, help="write everything here too")
    words = parser.parse_args()
    unknown = [name for name in words.targets if name not in TARGETS]
    if unknown:
        parser.error(f"no target {', '.join(unknown)}; one of {', '.join(TARGETS)}")
    chosen = {name: target for name, target in TARGETS.items() if name in words.targets or not words.targets}
    whole = sum(target.share for target in chosen.values())
    rows: dict[str, dict[str, Any]] = {}
    print(f"{'target':18}{'cases':>8}{'crashes':>9}{'hangs':>7}{'memory':>8}{'slowest s':>11}{'peak MB':>9}{'s':>7}")
    with contextlib.suppress(KeyboardInterrupt):
        for name, target in chosen.items():
            row = rows[name] = {
                "cases": 0,
                "crash": 0,
                "hang": 0,
                "memory": 0,
                "slowest": 0.0,
                "peak": 0.0,
                "faults": {},
            }
            left, begin, turn = round(words.cases * target.share / whole), time.monotonic(), 0
            wanted = left
            while row["cases"] < wanted and turn < 3 * (1 + wanted // PIECE):
                count = min(PIECE, wanted - row["cases"])
                run_piece(name, words.seed + 1000 * turn, count, words, row)
                turn += 1
            row["seconds"] = round(time.monotonic() - begin, 1)
            print(
                f"{name:18}{row['cases']:8}{row['crash']:9}{row['hang']:7}{row['memory']:8}{row['slowest']:11.2f}"
                f"{row['peak']:9.0f}{row['seconds']:7.0f}",
                flush=True,
            )
            if words.json:
                words.json.write_text(json.dumps(rows, indent=1))
    faults = [(name, key, fault) for name, row in rows.items() for key, fault in row["faults"].items()]
    for name, key, fault in faults:
        print(f"\n{name}: {key}\n  {fault['times']} times; {fault['what']}\n  {fault['case'][:600]}")
    total = sum(row["cases"] for row in rows.values())
    print(f"\n{total} cases, {len(faults)} different faults" if faults else f"\n{total} cases, no fault")
    return 1 if faults else 0


if __name__ == "__main__":
    sys.exit(main())
