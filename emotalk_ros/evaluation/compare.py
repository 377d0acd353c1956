"""The paper's table: every row of a YAML file trained by the same trainer on the same split, then measured together."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

from emotalk_ros.evaluation.evaluate import Evaluation, Progress, Settings, evaluate, find
from emotalk_ros.evaluation.measure import ENERGY, MEASURED, STILL
from emotalk_ros.evaluation.subject import Subject
from emotalk_ros.face import FaceBasis
from emotalk_ros.files import write_text
from emotalk_ros.motion.finish import FinishSettings
from emotalk_ros.reports import html

FORMAT = "emotalk table 1"
SHOWN = (
    ("lve_mm", "LVE mm"),
    ("eve_mm", "EVE mm"),
    ("lip_gap_correlation", "lip gap r"),
    ("closure_rate_tight", "b p m closed"),
    ("fdd_mm", "FDD mm"),
)


class TableError(ValueError):
    """A table file that can't be used; the message names the key."""


@dataclass(frozen=True)
class TableRow:
    """One network: `recipe` is merged over the table's common one, `paper` holds published (LVE, EVE) by data set."""

    name: str
    recipe: dict[str, Any]
    paper: dict[str, tuple[float, float]] = field(default_factory=dict)

    @property
    def folder(self) -> str:
        """Name of the row's folder."""
        return "".join(c if c.isalnum() else "_" for c in self.name.lower()).strip("_")


@dataclass(frozen=True)
class Table:
    """A parsed table file."""

    description: str
    common: dict[str, Any]
    rows: tuple[TableRow, ...]
    validation_share: float = 0.1
    test_share: float = 0.2
    seed: int = 0
    limit: int | None = None


def read_table(path: Path) -> Table:
    """Read a table file. Raises TableError naming what is wrong; keys that no row refers to are free for anchors."""
    try:
        raw = yaml.safe_load(path.read_text(encoding="utf-8"))
    except (OSError, yaml.YAMLError) as error:
        raise TableError(f"{path}: not readable YAML ({error})") from error
    if not isinstance(raw, Mapping) or not isinstance(raw.get("rows"), list) or not raw["rows"]:
        raise TableError(f"{path}: needs a list `rows` of mappings with `name` and `recipe`")
    rows = []
    for number, row in enumerate(raw["rows"], 1):
        if not isinstance(row, Mapping) or not row.get("name") or not isinstance(row.get("recipe"), Mapping):
            raise TableError(f"{path}: row {number} needs a `name` and a `recipe`")
        try:
            paper = {str(k): (float(v[0]), float(v[1])) for k, v in (row.get("paper") or {}).items()}
        except (TypeError, ValueError, IndexError):
            raise TableError(f"{path}: row {row['name']}: `paper` maps a data set to [LVE, EVE] in mm") from None
        rows.append(TableRow(str(row["name"]), dict(row["recipe"]), paper))
    twice = sorted({r.folder for r in rows if [q.folder for q in rows].count(r.folder) > 1})
    if twice:
        raise TableError(f"{path}: two rows are called {', '.join(twice)}")
    split, evaluation = raw.get("split") or {}, raw.get("evaluation") or {}
    return Table(
        description=str(raw.get("description", "")),
        common=dict(raw.get("common") or {}),
        rows=tuple(rows),
        validation_share=float(split.get("validation_share", 0.1)),
        test_share=float(split.get("test_share", 0.2)),
        seed=int(split.get("seed", 0)),
        limit=evaluation.get("limit"),
    )


def merged(base: Mapping[str, Any], over: Mapping[str, Any]) -> dict[str, Any]:
    """`over` laid over `base`, mapping by mapping."""
    result = dict(base)
    for key, value in over.items():
        both = isinstance(value, Mapping) and isinstance(result.get(key), Mapping)
        result[key] = merged(result[key], value) if both else value
    return result


def row_recipe(table: Table, row: TableRow, corpus: Path, split: Path) -> dict[str, Any]:
    """The whole recipe of a row, as written to its folder."""
    own = {"name": row.folder, "data": {"corpora": [str(corpus.resolve())], "split": str(split.resolve())}}
    return merged(merged(table.common, row.recipe), own)


def train_row(table: Table, row: TableRow, corpus: Path, split: Path, folder: Path, console: Any = None) -> Path | None:
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
    table: Table, corpus: Path, output: Path, *, console: Any = None, say: Callable[[str], None] = lambda text: None
) -> tuple[list[Subject], frozenset[str]]:
    """Train all rows below `output`; returns them and the names of the clips held out. Finished rows are kept.

    Raises:
        TableError: the corpus has too few actors.
        KeyboardInterrupt: training was interrupted; the same call goes on.
    """
    from emotalk_ros.corpus.store import Corpus
    from emotalk_ros.training.splits import draw_split

    records = Corpus.open(corpus).records
    split = draw_split(records, table.validation_share, table.test_share, table.seed)
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
        subjects.append(Subject(model, finish=FinishSettings(blinks=False), label=row.name))
    return subjects, held_out


def measure_table(
    table: Table,
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
    settings = Settings("corpus", limit or table.limit, jobs=jobs, modes=("offline",), only=held_out, seed=table.seed)
    return evaluate(subjects, corpus, basis, output / "cache", settings, progress)


def table_findings(table: Table, result: Evaluation) -> dict[str, Any]:
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
        "training": {row.name: merged(table.common, row.recipe) for row in table.rows},
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


def table_page(found: Mapping[str, Any]) -> str:
    """The table for people."""
    sets = sorted({name for row in found["rows"] for name in row["paper"]}, reverse=True)
    best = {
        key: min((row["figures"][key][0] for row in found["rows"] if row["figures"].get(key)), default=None)
        for key in ("lve_mm", "eve_mm")
    }
    body: list[html.Row] = []
    for row in [*found["rows"], *found["references"]]:
        cells: list[Any] = [row["name"], f"{row['parameters'] / 1e6:.2f} M" if "parameters" in row else ""]
        measured = []
        for key, _ in SHOWN:
            value, low, high = (row["figures"].get(key) or (None, None, None))[:3]
            text = html.with_interval(value, low, high)
            measured.append(html.Html(f"<b>{text}</b>") if value is not None and best.get(key) == value else text)
        published = [row.get("paper", {}).get(name) for name in sets]
        cells += measured[:2]
        cells += [entry[key] if entry else None for entry in published for key in ("lve_mm", "eve_mm")]
        body.append(html.Row([*cells, *measured[2:]], "" if "paper" in row else "other"))
    labels = [label for _, label in SHOWN]
    heads = ["", "size", *labels[:2], *(f"{what}, {name}" for name in sets for what in ("LVE", "EVE")), *labels[2:]]
    note = (
        f"Measured on {found['dataset']['clips']} clips of actors held out, whole clips, on the face "
        f"{found['face']!r}; small: 95 % bootstrap interval. LVE and EVE with the name of a data "
        "set are the paper's figures there, on another face: compare the order, not the millimetres."
    )
    facts = [
        html.Fact(f"pairs in the paper's order, {key[:3].upper()}", f"{share:.0%}", "50 % by chance")
        for key, share in found["order"].items()
    ]
    return html.page(
        "The paper's table, rebuilt",
        found["description"],
        facts,
        [html.section("LVE and EVE", html.table(heads, body), note=note)],
    )
