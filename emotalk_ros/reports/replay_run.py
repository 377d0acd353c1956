"""One replay from bag to files: frames, findings, report.json, report.html and the merged bag."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from emotalk_ros.bags.bag import Bag, open_bag
from emotalk_ros.bags.writing import write_merged
from emotalk_ros.evaluation.plain_json import to_json
from emotalk_ros.evaluation.replay import Replay, Topics, replay, results
from emotalk_ros.evaluation.replay_findings import findings
from emotalk_ros.evaluation.subject import Subject
from emotalk_ros.face import FaceBasis
from emotalk_ros.files import write_text
from emotalk_ros.reports.replay import replay_page

Live = Callable[[Bag, Subject, Any, Topics, dict[str, Any]], Replay]
"""How the live mode plugs in (`emotalk_ros.nodes.replay_live`): bag, subject, model, topics, settings to a Replay."""


@dataclass(frozen=True)
class Outputs:
    """What to write into `folder`: report.json always, the rest as asked."""

    folder: Path
    html: bool = True
    film: bool = True
    merged: bool = True
    storage: str = "mcap"


@dataclass(frozen=True)
class Outcome:
    """The findings, the problems in words, and the files written."""

    findings: dict[str, Any]
    problems: list[str]
    files: list[Path]

    @property
    def exit_code(self) -> int:
        """0 for a whole recording, 2 when the report covers only what could be read."""
        return 2 if self.problems else 0


def replay_bag(
    path: Path,
    subject: Subject,
    basis: FaceBasis,
    outputs: Outputs,
    *,
    topics: Topics | None = None,
    live: Live | None = None,
    progress: Callable[[str, float], None] = lambda stage, share: None,
) -> Outcome:
    """Replay the bag at `path` through `subject` and write the report.

    Args:
        basis: the face that turns coefficients into mm.
        live: None replays deterministically, one thread, as fast as possible.
        progress: called with the stage and its share done, 0 to 1.

    Raises:
        BagError: nothing can be read, or no usable audio.
        ModelNotFoundError, ValueError: the subject can't be set up.
    """
    import torch

    topics = topics or Topics()
    model = subject.load()
    voice = subject.voice(model, topics.input.stamps)
    with open_bag(path) as bag:
        if live is not None:
            replayed = live(bag, subject, model, topics, subject.settings(voice))
        else:
            threads = torch.get_num_threads()
            torch.set_num_threads(1)  # sums in another order give other last digits: one thread, one result
            try:
                replayed = replay(
                    bag,
                    voice,
                    topics=topics,
                    settings=subject.settings(voice),
                    progress=lambda share: progress("replaying", share),
                )
            finally:
                torch.set_num_threads(threads)
        progress("measuring", 0.0)
        found = findings(bag, replayed, basis, subject.describe(model))
        progress("measuring", 1.0)
        files = _write(bag, path, replayed, found, basis, outputs, progress)
        return Outcome(found, list(bag.problems), files)


def _write(
    bag: Bag,
    path: Path,
    replayed: Replay,
    found: dict[str, Any],
    basis: FaceBasis,
    outputs: Outputs,
    progress: Callable[[str, float], None],
) -> list[Path]:
    files = [outputs.folder / "report.json"]
    write_text(files[0], to_json(found))
    if outputs.html:
        progress("drawing", 0.0)
        files.append(outputs.folder / "report.html")
        write_text(files[1], replay_page(path.resolve().name, replayed, found, basis, film=outputs.film))
        progress("drawing", 1.0)
    if outputs.merged:
        progress("merging", 0.0)
        target = outputs.folder / "merged"
        write_merged(bag, results(replayed), target, storage=outputs.storage, overwrite=True)
        files.append(target)
        progress("merging", 1.0)
    return files
