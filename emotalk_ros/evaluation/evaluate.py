"""Models on a data set: clips measured in parallel processes, cached one by one, gathered into rows with intervals."""

from __future__ import annotations

import functools
import hashlib
import json
import math
from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from dataclasses import dataclass, field
from multiprocessing import active_children, get_all_start_methods, get_context
from multiprocessing.context import BaseContext
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

import emotalk_ros
from emotalk_ros.emotions import EMOTIONS, HIGH_AROUSAL, canonical
from emotalk_ros.evaluation.datasets import Dataset, open_dataset
from emotalk_ros.evaluation.measure import ENERGY, MEASURED, MODES, STILL, measure, reference_rows
from emotalk_ros.evaluation.metrics.emotion import (
    accuracy,
    calibration_error,
    confusion_matrix,
    unweighted_average_recall,
)
from emotalk_ros.evaluation.metrics.spread import near_captured, percentiles
from emotalk_ros.evaluation.metrics.statistics import Interval, bootstrap_mean, bootstrap_ratio
from emotalk_ros.evaluation.plain_json import plain
from emotalk_ros.evaluation.subject import Subject
from emotalk_ros.face import COUNT, FaceBasis
from emotalk_ros.files import write_text
from emotalk_ros.workers import deaf_workers

if TYPE_CHECKING:
    from emotalk_ros.model.ear import Ear

FORMAT = "emotalk evaluate 5"
KNOWN = "offline, speaker known"
"""Emotions heard by an ear that knows each speaker from his other clips."""
SPAWN_WORTH = 4
"""Clips per process below which starting another process takes longer than it saves."""
RATIOS = {
    "closure_rate": ("closures", "bilabials"),
    "closure_rate_in_speech": ("closures_in_speech", "bilabials"),
    "closure_rate_tight": ("closures_tight", "bilabials"),
    "closure_rate_at_centre": ("closures_at_centre", "bilabials"),
    "closure_rate_full": ("closures_full", "bilabials"),
    "false_closure_rate": ("closures_false", "opened"),
}
"""Shares, summed over clips before dividing."""


@dataclass(frozen=True)
class Settings:
    """How to evaluate.

    Attributes:
        kind: of the data set; None detects it.
        limit: at most so many clips.
        style: "clip" animates each clip in its own person and level, "fixed" in the subject's.
        resamples: of the bootstrap; `seed` draws them.
        jobs: processes.
        fresh: do not use cached results.
        modes: offline, streamed or both.
        only: names of the clips to use; None: all.
    """

    kind: str | None = None
    limit: int | None = None
    style: str = "clip"
    resamples: int = 1000
    seed: int = 0
    jobs: int = 1
    fresh: bool = False
    modes: tuple[str, ...] = MODES
    only: frozenset[str] | None = None


@dataclass(frozen=True)
class ClipJob:
    """What one process needs to measure a clip."""

    dataset: Path
    kind: str
    limit: int | None
    subjects: tuple[Subject, ...]
    basis: FaceBasis
    mean: NDArray[np.float32] | None
    style: str
    modes: tuple[str, ...]
    only: frozenset[str] | None


@dataclass
class Evaluation:
    """The result: `clips[k]` is one clip's record, `findings` the report. `failed` names clips and reasons."""

    findings: dict[str, Any]
    clips: list[dict[str, Any]] = field(repr=False)
    failed: list[str] = field(default_factory=list)


Progress = Callable[[int, int, int], None]
"""Called with clips done, clips in all, and how many of those done came from the cache."""


def evaluate(
    subjects: Sequence[Subject],
    path: Path,
    basis: FaceBasis,
    cache: Path,
    settings: Settings | None = None,
    progress: Progress = lambda done, total, cached: None,
) -> Evaluation:
    """Measure all `subjects` on the data set at `path`.

    Each clip's result is kept in `cache` as soon as it is there, so an interrupted run goes on where it was. Clips that
    can't be read are named in `failed`, the rest counts.

    Raises:
        DatasetError: the data set can't be used. ModelNotFoundError: a model is missing.
        ValueError: two models of the same name, or settings that a model can't follow.
    """
    settings = settings or Settings()
    names = _names(subjects)
    dataset = open_dataset(path, settings.kind, settings.limit, settings.only)
    models = [_described(subject) for subject in subjects]
    mean = mean_face(dataset)
    job = ClipJob(
        path, dataset.kind, settings.limit, tuple(subjects), basis, mean, settings.style, settings.modes, settings.only
    )
    folder = cache / _key(job, dataset, models, basis)
    records, failed = _collect(job, dataset, folder, settings, progress)
    findings = gather(records, names, settings)
    findings["recognition"] += [
        entry
        for subject in subjects
        if (hears := subject.ear_for(subject.load())) is not None
        and (entry := recognised(speakers_known(records, subject.name, hears), subject.name, KNOWN, settings))
    ]
    heard_by = {
        name: (model["ear"] or {}).get("name", "the network") for name, model in zip(names, models, strict=True)
    }
    for entry in findings["recognition"]:
        entry["heard_by"] = heard_by[entry["model"]]
    findings |= {
        "format": FORMAT,
        "dataset": {
            "kind": dataset.kind,
            "clips": len(records),
            "digest": dataset.digest,
            "skipped": len(dataset.skipped),
            "failed": sorted(failed),
        },
        "models": dict(zip(names, models, strict=True)),
        "face": basis.name,
        "style": settings.style,
        "bootstrap": {"resamples": settings.resamples, "seed": settings.seed, "level": 0.95},
    }
    return Evaluation(findings, records, failed)


def _names(subjects: Sequence[Subject]) -> list[str]:
    names = [subject.name for subject in subjects]
    twice = sorted({name for name in names if names.count(name) > 1})
    if twice:
        raise ValueError(f"two models are called {', '.join(twice)}; copy or link one under another folder name")
    return names


def _described(subject: Subject) -> dict[str, Any]:
    model = subject.load()
    return {**subject.describe(model), "settings": subject.settings(subject.voice(model))}


def mean_face(dataset: Dataset) -> NDArray[np.float32] | None:
    """Mean coefficients of the references (at most 200 clips, evenly spread): what the motionless row shows."""
    if dataset.kind not in ("corpus", "pairs"):
        return None
    total, frames = np.zeros(COUNT), 0
    for k in np.unique(np.linspace(0, len(dataset) - 1, 200).round().astype(int)).tolist():
        try:
            reference = dataset.load(k).reference
        except (ValueError, OSError):
            continue
        if reference is not None:
            total += reference.sum(axis=0, dtype=np.float64)
            frames += len(reference)
    return (total / max(frames, 1)).astype(np.float32)


def _key(job: ClipJob, dataset: Dataset, models: list[dict[str, Any]], basis: FaceBasis) -> str:
    """Changes whenever a clip's result could: format, program, data, models and settings, face, style."""
    parts = [
        FORMAT,
        _program(),
        dataset.kind,
        dataset.digest,
        json.dumps(plain(models), sort_keys=True),
        job.style,
        *job.modes,
        hashlib.sha256(basis.template.tobytes() + basis.basis.tobytes()).hexdigest(),
        "" if job.mean is None else hashlib.sha256(job.mean.tobytes()).hexdigest(),
    ]
    return hashlib.sha256("\n".join(parts).encode()).hexdigest()[:20]


@functools.cache
def _program() -> str:
    """Digest of the code that the figures come from: what another version measured is measured again."""
    package = Path(emotalk_ros.__file__).parent
    digest = hashlib.sha256()
    for room in ("audio", "evaluation", "face", "model", "streaming"):
        for file in sorted((package / room).rglob("*.py")):
            digest.update(file.read_bytes())
    return digest.hexdigest()


def _collect(
    job: ClipJob, dataset: Dataset, folder: Path, settings: Settings, progress: Progress
) -> tuple[list[dict[str, Any]], list[str]]:
    """Records of all clips in order: from the cache where they are, measured where not."""
    records: dict[int, dict[str, Any]] = {}
    for k, clip in enumerate(dataset.ids):
        if not settings.fresh and (record := _cached(_cache_file(folder, clip))):
            records[k] = record
    cached = len(records)
    progress(cached, len(dataset), cached)
    failed: list[str] = []
    todo = [k for k in range(len(dataset)) if k not in records]
    for k, record, error in _measured(job, todo, settings.jobs):
        if record is None:
            failed.append(f"{dataset.ids[k]}: {error}")
        else:
            write_text(_cache_file(folder, dataset.ids[k]), json.dumps(record, sort_keys=True))
            # Read back, so that a resumed run sees the same digits as this one.
            records[k] = json.loads(json.dumps(record))
        progress(len(records) + len(failed), len(dataset), cached)
    return [records[k] for k in sorted(records)], failed


def _cache_file(folder: Path, clip: str) -> Path:
    safe = clip if clip.replace("-", "").replace("_", "").replace(".", "").isalnum() else ""
    return folder / f"{safe[:80]}_{hashlib.sha256(clip.encode()).hexdigest()[:8]}.json"


def _cached(path: Path) -> dict[str, Any] | None:
    try:
        record = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None
    return record if isinstance(record, dict) and "modes" in record else None


def _measured(job: ClipJob, todo: list[int], jobs: int) -> Iterator[tuple[int, dict[str, Any] | None, str]]:
    """(clip, record or None, reason) as they are done, in one process or several."""
    jobs = min(jobs, len(todo) // SPAWN_WORTH)
    if jobs <= 1:
        if todo:
            _prepare(job)
        yield from ((k, *_attempt(k)) for k in todo)
        return
    others = set(active_children())
    with ProcessPoolExecutor(jobs, _context(), _prepare, (job,)) as pool:
        try:
            with deaf_workers():  # they start with the first submission
                waiting: dict[Future[Any], int] = {pool.submit(_attempt, k): k for k in todo}
            while waiting:
                done, _ = wait(waiting, return_when=FIRST_COMPLETED)
                for future in done:
                    yield (waiting.pop(future), *future.result())
        except BaseException:
            pool.shutdown(wait=False, cancel_futures=True)
            for worker in set(active_children()) - others:
                worker.terminate()  # workers write no files, so nothing is left half-done
            raise


def _context() -> BaseContext:
    """Processes that have not inherited this one's threads; where possible, torch is imported once for all of them."""
    if "forkserver" not in get_all_start_methods():
        return get_context("spawn")
    context = get_context("forkserver")
    context.set_forkserver_preload(["emotalk_ros.evaluation.measure", "emotalk_ros.model.emotalk"])
    return context


_state: dict[str, Any] = {}  # of this process: the job, its models and its data set, loaded once


def _prepare(job: ClipJob) -> None:
    import torch

    torch.set_num_threads(1)  # processes share the cores, not threads
    _state["job"] = job
    _state["dataset"] = open_dataset(job.dataset, job.kind, job.limit, job.only)
    _state["models"] = [subject.load() for subject in job.subjects]


def _attempt(k: int) -> tuple[dict[str, Any] | None, str]:
    try:
        return measure_clip(_state["job"], _state["dataset"], _state["models"], k), ""
    except (ValueError, OSError, KeyError, RuntimeError) as error:
        return None, f"{type(error).__name__}: {error}"


def measure_clip(job: ClipJob, dataset: Dataset, models: Sequence[Any], k: int) -> dict[str, Any]:
    """One clip's record: what it is, the rows that need no model, and every model's modes."""
    sample = dataset.load(k)
    record: dict[str, Any] = {
        "id": dataset.ids[k],
        "actor": sample.actor,
        "emotion": sample.emotion,
        "seconds": len(sample.audio) / 16000,
        "rows": reference_rows(sample, job.basis, job.mean),
        "labels": {},
        "modes": {},
    }
    for subject, model in zip(job.subjects, models, strict=True):
        record["labels"][subject.name] = list(subject.emotion_labels(model))
        record["modes"][subject.name] = measure(subject, model, sample, job.basis, style=job.style, modes=job.modes)
    return dict(plain(record))


# --- gathering ------------------------------------------------------------------------------------------------------


def gather(records: Sequence[dict[str, Any]], names: Sequence[str], settings: Settings) -> dict[str, Any]:
    """Rows of figures with intervals: over all clips, per emotion and per actor; and how emotions were recognised."""
    groups: dict[str, list[dict[str, Any]]] = {"all": list(records)}
    for key in ("emotion", "actor"):
        values = sorted({str(r[key]) for r in records if r[key] not in (None, "")})
        if len(values) > 1:
            groups |= {f"{key}={v}": [r for r in records if str(r[key]) == v] for v in values}
    rows = []
    for group, part in groups.items():
        for name, mode, figures in _sources(part, names):
            summary = summarise(figures, [r["actor"] or r["id"] for r in part], settings)
            rows.append({"group": group, "row": name, "mode": mode, "clips": len(part), "figures": summary})
    recognition = [
        entry for name in names for mode in MODES if (entry := recognised(records, name, mode, settings)) is not None
    ]
    return {"rows": rows, "recognition": recognition, "distribution": distribution(records, names)}


def distribution(records: Sequence[dict[str, Any]], names: Sequence[str]) -> list[dict[str, Any]]:
    """How far each model's face moves over all clips: percentiles by coefficient, and which are near captured ones."""
    found = []
    for name in names:
        for mode in MODES:
            made = [r["modes"][name][mode]["histogram"] for r in records if mode in r["modes"][name]]
            values = percentiles(made)
            if values:
                near = {key: list(near_captured(key, each)) for key, each in values.items()}
                found.append({"model": name, "mode": mode, "percentiles": values, "near_captured": near})
    return found


def _sources(part: list[dict[str, Any]], names: Sequence[str]) -> Iterator[tuple[str, str, list[dict[str, Any]]]]:
    for name in names:
        for mode in MODES:
            if all(mode in r["modes"][name] for r in part):
                yield name, mode, [r["modes"][name][mode]["figures"] for r in part]
    for name in (STILL, ENERGY, MEASURED):
        figures = [r["rows"].get(name, {}) for r in part]
        if any(figures):
            yield name, "", figures


def summarise(
    figures: Sequence[dict[str, float | None]], actors: Sequence[str], settings: Settings
) -> dict[str, Interval]:
    """Mean and 95 % interval of every figure over clips; whole actors are drawn where there are several."""
    groups = list(actors) if len(set(actors)) > 1 else None
    table = {key: [_number(f.get(key)) for f in figures] for f in figures for key in f}
    counts = {part for ratio in RATIOS.values() for part in ratio}
    draw: dict[str, Any] = {"groups": groups, "resamples": settings.resamples, "seed": settings.seed}
    result: dict[str, Interval] = {
        key: bootstrap_mean(values, **draw) for key, values in sorted(table.items()) if key not in counts
    }
    for key, (above, below) in RATIOS.items():
        if above in table and sum(v for v in table[below] if v == v) > 0:
            result[key] = bootstrap_ratio(table[above], table[below], **draw)
    return result


def _number(value: float | None) -> float:
    return math.nan if value is None else float(value)


def recognised(records: Sequence[dict[str, Any]], name: str, mode: str, settings: Settings) -> dict[str, Any] | None:
    """Emotion recognition of a model: recalls, arousal, confusion; None where clips or model have no labels.

    `uar` takes the most probable of all the model's labels, `uar_of_present` of those that occur in the data. Arousal:
    whether the labels of high arousal hold more than half of the probability. `calibration_error`: how far
    the probability of what was heard is from how often that is right.
    """
    actual, heard, heard_present, aroused, actors, told = [], [], [], [], [], []
    present = {r["emotion"] for r in records if r["emotion"]}
    for record in records:
        entry = record["modes"].get(name, {}).get(mode, {})
        labels = [canonical(label) for label in record["labels"].get(name, ())]
        values = entry.get("probabilities")
        if not record["emotion"] or not labels or values is None or len(values) != len(labels):
            continue
        p = np.asarray(values, np.float64)
        among = np.where([label in present for label in labels], p, -1.0)
        actual.append(record["emotion"])
        heard.append(labels[int(p.argmax())])
        heard_present.append(labels[int(among.argmax())])
        aroused.append(float(p[[label in HIGH_AROUSAL for label in labels]].sum()) > 0.5)
        actors.append(record["actor"] or record["id"])
        told.append((float(p.max()), heard[-1] == record["emotion"]))
    if len(set(actual)) < 2:
        return None
    confusion = confusion_matrix(heard, actual)
    truth = np.array([label in HIGH_AROUSAL for label in actual])
    hits = np.array(aroused) == truth
    groups = actors if len(set(actors)) > 1 else None
    arousal = bootstrap_mean(hits, groups=groups, resamples=settings.resamples, seed=settings.seed)
    sides = [float(hits[truth == side].mean()) for side in (True, False) if (truth == side).any()]
    return {
        "model": name,
        "mode": mode,
        "clips": len(actual),
        "uar": unweighted_average_recall(confusion),
        "uar_of_present": unweighted_average_recall(confusion_matrix(heard_present, actual)),
        "accuracy": accuracy(confusion),
        "arousal": arousal,
        "arousal_balanced": float(np.mean(sides)),
        "chance_uar": 1.0 / len(set(actual)),
        "calibration_error": calibration_error([sure for sure, _ in told], [hit for _, hit in told]),
        "labels": list(EMOTIONS),
        "confusion": confusion.tolist(),
    }


def speakers_known(records: Sequence[dict[str, Any]], name: str, ear: Ear) -> list[dict[str, Any]]:
    """What `ear` says of each clip when it knows the speaker from all his other clips, as a mode `KNOWN` of `name`.

    Clips of which that cannot be said (nobody knows who speaks, or there is no other clip of him) are left out.
    """
    import torch

    from emotalk_ros.model.ear import SpeakerPicture

    heard = [(r, r["modes"][name].get("offline", {}).get("heard")) for r in records if r["actor"]]
    clips = [(r, torch.tensor(h["mean"], dtype=torch.float32), float(h["seconds"])) for r, h in heard if h]
    sums: dict[str, Any] = defaultdict(float)
    totals: dict[str, float] = defaultdict(float)
    for record, mean, seconds in clips:
        sums[record["actor"]] = sums[record["actor"]] + mean.double() * seconds
        totals[record["actor"]] += seconds
    found = []
    for record, mean, seconds in clips:
        rest = totals[record["actor"]] - seconds
        if rest < 0.1:
            continue
        picture = SpeakerPicture(((sums[record["actor"]] - mean.double() * seconds) / rest).float(), rest)
        reading = ear.read_mean(mean, seconds, picture)
        told = {"probabilities": reading.probabilities[0].tolist()}
        found.append({**record, "modes": {name: {KNOWN: told}}})
    return found


def shown_mode(findings: Mapping[str, Any]) -> str:
    """The mode that headlines go by: streamed where it was run."""
    return "streamed" if any(row["mode"] == "streamed" for row in findings["rows"]) else "offline"


def find(findings: Mapping[str, Any], row: str, mode: str, group: str = "all") -> dict[str, Any]:
    """The figures of one row of the findings; empty when there is none."""
    for entry in findings["rows"]:
        if (entry["row"], entry["mode"], entry["group"]) == (row, mode, group):
            return dict(entry["figures"])
    return {}
