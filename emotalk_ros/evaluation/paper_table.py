"""The paper's table: every row of a YAML file trained by the same trainer on the same split, then measured together."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any

import yaml
from pydantic import ConfigDict, Field, field_validator

from emotalk_ros.evaluation.evaluate import Evaluation, Progress, Settings, evaluate, find
from emotalk_ros.evaluation.measure import ENERGY, MEASURED, STILL
from emotalk_ros.evaluation.subject import Subject
from emotalk_ros.face import FaceBasis
from emotalk_ros.files import write_text
from emotalk_ros.motion import MotionSettings
from emotalk_ros.motion.stages.blinks import BlinkSettings
from emotalk_ros.settings_files import PositiveInt, Share, StrictModel, check, merge, read_yaml

FORMAT = "emotalk table 1"


class TableError(ValueError):
    """A table file that can't be used; the message names the key."""


class TableRow(StrictModel):
    """One network: `recipe` is merged over the table's common one, `paper` holds published (LVE, EVE) by data set."""

    name: Annotated[str, Field(min_length=1)]
    recipe: dict[str, Any]
    paper: dict[str, Annotated[tuple[float, float], Field(strict=False)]] = Field(default={})

    @property
    def folder(self) -> str:
        """Name of the row's folder."""
        return "".join(c if c.isalnum() else "_" for c in self.name.lower()).strip("_")


class TableSplit(StrictModel):
    """How the actors are divided."""

    validation_share: Share = 0.1
    test_share: Share = 0.2
    seed: int = 0


class TableEvaluation(StrictModel):
    """What is measured: at most `limit` of the clips held out."""

    limit: PositiveInt | None = None


class PaperTable(StrictModel):
    """A table file. Keys that are none of these are free for YAML anchors."""

    model_config = ConfigDict(extra="ignore")

    description: str = ""
    common: dict[str, Any] = Field(default={})
    """What the recipes of all rows share."""
    rows: Annotated[tuple[TableRow, ...], Field(strict=False, min_length=1)]
    split: TableSplit = TableSplit()
    evaluation: TableEvaluation = TableEvaluation()

    @field_validator("rows")
    @classmethod
    def _names_differ(cls, rows: tuple[TableRow, ...]) -> tuple[TableRow, ...]:
        folders = [row.folder for row in rows]
        if twice := sorted({name for name in folders if folders.count(name) > 1}):
            raise ValueError(f"two rows are called {', '.join(twice)}")
        return rows


def read_table(path: Path) -> PaperTable:
    """Read a table file. Raises TableError naming what is wrong."""
    return check(PaperTable, read_yaml(path, TableError), TableError, path)


def row_recipe(table: PaperTable, row: TableRow, corpus: Path, split: Path) -> dict[str, Any]:
    """The whole recipe of a row, as written to its folder."""
    own = {"name": row.folder, "data": {"corpora": [str(corpus.resolve())], "split": str(split.resolve())}}
    return merge(merge(table.common, row.recipe), own)


def train_row(
    table: PaperTable, row: TableRow, corpus: Path, split: Path, folder: Path, console: Any = None
) -> Path | None:
    """Train a row in `folder`, or go on where an interrupted run stopped; returns the model folder.

    A finished model of the same recipe is used as it is. None when the training was interrupted.
    """
    from emotalk_ros.training import load_recipe, train

    text = yaml.safe_dump(row_recipe(table, row, corpus, split), sort_keys=True)
    recipe_file = folder / "row.yaml"
    model = folder / "run" / "model"
    known = recipe_file.is_file() and recipe_file.read_text(encoding="utf-8") == text
    if known and (model / "config.json").is_file():
        return model
    if not known and (folder / "run").exists():
        raise TableError(f"{folder} holds a run of another recipe; choose another --output or delete it")
    write_text(recipe_file, text)
    resume = any((folder / "run" / "checkpoints").glob("step-*"))
    result = train(load_recipe(recipe_file), folder / "run", resume, console)
    return result.model


def train_table(
    table: PaperTable,
    corpus: Path,
    output: Path,
    *,
    console: Any = None,
    say: Callable[[str], None] = lambda text: None,
) -> tuple[list[Subject], frozenset[str]]:
    """Train all rows below `output`; returns them and the names of the clips held out. Finished rows are kept.

    Raises:
        TableError: the corpus has too few actors.
        KeyboardInterrupt: training was interrupted; the same call goes on.
    """
    from emotalk_ros.corpus.store import Corpus
    from emotalk_ros.training.splits import draw_split

    records = Corpus.open(corpus).records
    split = draw_split(records, table.split.validation_share, table.split.test_share, table.split.seed)
    held_out = frozenset(r.id for r in records if split.side(r) == ("test" if split.test else "validation"))
    if not held_out:
        raise TableError(f"{corpus} has too few actors to hold any out: it needs at least two")
    output.mkdir(parents=True, exist_ok=True)
    split.write(output / "splits.yaml")
    subjects = []
    for number, row in enumerate(table.rows, 1):
        say(f"{number} of {len(table.rows)}: {row.name}")
        model = train_row(table, row, corpus, output / "splits.yaml", output / row.folder, console)
        if model is None:
            raise KeyboardInterrupt
        subjects.append(Subject(model, motion=MotionSettings(blinks=BlinkSettings(on=False)), label=row.name))
    return subjects, held_out


def measure_table(
    table: PaperTable,
    subjects: list[Subject],
    held_out: frozenset[str],
    corpus: Path,
    output: Path,
    basis: FaceBasis,
    *,
    jobs: int = 1,
    limit: int | None = None,
    progress: Progress = lambda done, total, cached: None,
) -> Evaluation:
    """All rows on the clips held out, offline (what the paper measures); results are kept clip by clip."""
    settings = Settings(
        "corpus", limit or table.evaluation.limit, jobs=jobs, modes=("offline",), only=held_out, seed=table.split.seed
    )
    return evaluate(subjects, corpus, basis, output / "cache", settings, progress)


def table_findings(table: PaperTable, result: Evaluation) -> dict[str, Any]:
    """The table for machines: measured figures with intervals beside the published ones."""
    rows = [
        {
            "name": row.name,
            "parameters": result.findings["models"][row.name]["parameters"],
            "figures": find(result.findings, row.name, "offline"),
            "paper": {k: {"lve_mm": v[0], "eve_mm": v[1]} for k, v in row.paper.items()},
        }
        for row in table.rows
    ]
    others = [{"name": n, "figures": find(result.findings, n, "")} for n in (STILL, ENERGY, MEASURED)]
    return {
        "format": FORMAT,
        "description": table.description,
        "face": result.findings["face"],
        "dataset": result.findings["dataset"],
        "rows": rows,
        "references": [entry for entry in others if entry["figures"]],
        "order": order_agreement(rows),
        "training": {row.name: merge(table.common, row.recipe) for row in table.rows},
    }


def order_agreement(rows: list[dict[str, Any]]) -> dict[str, float]:
    """Share of pairs of rows that stand in the paper's order (RAVDESS), for LVE and EVE."""
    result = {}
    for key in ("lve_mm", "eve_mm"):
        known = [
            (row["paper"]["RAVDESS"][key], row["figures"][key][0])
            for row in rows
            if "RAVDESS" in row["paper"] and row["figures"].get(key)
        ]
        pairs = [(a, b) for i, a in enumerate(known) for b in known[i + 1 :] if a[0] != b[0]]
        if pairs:
            result[key] = sum((a[0] < b[0]) == (a[1] < b[1]) for a, b in pairs) / len(pairs)
    return result
