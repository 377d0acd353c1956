"""Teaching an ear: recordings with an emotion in, an `Ear` with its measured figures out, in minutes on a CPU.

Every recording is heard once by the encoder. What is fitted is small: a multinomial logistic regression,
twice, for speakers that are known and for those that are not. How they are fitted:

- Each collection's clips are taken relative to their speaker's mean and brought to the same spread, so that bursts,
  studio actors and made-up portrayals can be learned from together.
- For known speakers the mean is that of a few other clips of the speaker, drawn anew for each pass: at run time it will
  not be exact either.
- For unknown speakers every clip is moved to the mean of another speaker, drawn from all collections: emotion is what
  stays the same under that.
- Half of the clips are whole, half a second or so of them: a stream has no clips.
- Probabilities are calibrated by one temperature for each of both (Guo et al. 2017), on speakers that the fit did not
  have.
"""

from __future__ import annotations

import hashlib
import zipfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Protocol
from zlib import crc32

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional

from emotalk_ros.audio import AudioFormatError, load_audio
from emotalk_ros.corpus.readers.emotional import Voice
from emotalk_ros.emotions import EMOTIONS, HIGH_AROUSAL
from emotalk_ros.files import replacing
from emotalk_ros.model.ear import Ear, EarConfig, SpeakerPicture, state_levels
from emotalk_ros.model.ear_config import RATE, SAMPLES, VALENCE

Floats = NDArray[np.float32]
Encoder = Callable[[Floats], Tensor]
"""Samples (N,) mono 16 kHz to states (T, layers, width), 50 a second, state k centred at sample 320 k."""

_PIECE = RATE // 2  # states of speech in a piece of a clip
_SHORTEST = 0.2  # seconds of speech below which a clip tells nothing


class EarTrainingError(ValueError):
    """The recordings cannot teach an ear; the message says why."""


@dataclass(frozen=True)
class EarRecipe:
    """How an ear is fitted; the values were chosen by cross-validation on EMO-DB, with RAVDESS's
    figures in view (`docs/ear.md` says where they had a part in a choice).

    `ridge` holds the weights small; `passes` over the clips with other draws; `folds` of the cross-validation by
    speakers; `burst_weight` of a collection of bursts against one of speech; `doubt` multiplies the
    temperatures: how much less sure the ear is to be than it may be with other speakers of the same collections.
    """

    layers: tuple[int, ...] = (1, 2)
    ridge: float = 0.2
    passes: int = 4
    folds: int = 5
    burst_weight: float = 1.0
    doubt: float = 1.0
    seed: int = 0


@dataclass(frozen=True)
class HeardClip:
    """What the encoder made of one recording: means (K, D) of its speech in pieces of half a second, and their
    `seconds` (K,).
    """

    voice: Voice
    pieces: Floats
    seconds: Floats

    @property
    def mean(self) -> Floats:
        """(D,) over all of its speech."""
        return np.asarray(self.seconds @ self.pieces / self.seconds.sum(), dtype=np.float32)


_LEAD = 4 * RATE
"""States of silence at most before a clip: an encoder's states depend on where in a stream they lie."""


def hear(
    voices: Sequence[Voice],
    encoder: Encoder,
    config: EarConfig,
    progress: Callable[[Voice, str | None], None] | None = None,
    longest: float = 20.0,
    kept: HeardBefore | None = None,
) -> list[HeardClip]:
    """Runs every recording (its first `longest` seconds) through the encoder.

    Half of them come at once, as clips do, the others after a silence of up to 4 s, somewhere in a stream.
    What cannot be read or holds no speech is left out; `progress` is told of each recording and what was wrong with it.
    What is `kept` of an earlier call is not heard again.
    """
    ear = Ear(config)
    heard = []
    for voice in voices:
        problem = None
        try:
            found = None if kept is None else kept.find(voice, longest)
            if found is None:
                found = _hear_one(voice, load_audio(voice.path)[: int(longest * 16000)], encoder, ear)
                if kept is not None:
                    kept.keep(voice, longest, *found)
            pieces, seconds = found
            if len(seconds):
                heard.append(HeardClip(voice, pieces, seconds))
            else:
                problem = f"less than {_SHORTEST} s of speech"
        except (AudioFormatError, OSError) as error:
            problem = str(error)
        if progress is not None:
            progress(voice, problem)
    return heard


class HeardBefore:
    """A folder that keeps what the encoder made of each recording, by the recording's content.

    An interrupted call goes on from there, and another ear of the same recordings is made in seconds.

    Args:
        folder: made where it is not there.
        encoder: what tells one encoder from another (`ear_encoder.trunk_digest`).
        layers: that the ear reads.
    """

    def __init__(self, folder: Path, encoder: str, layers: Sequence[int]) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self._folder = folder
        self._made_by = f"{_KEPT_FORMAT} {encoder} {list(layers)}"

    def find(self, voice: Voice, longest: float) -> tuple[Floats, Floats] | None:
        """`HeardClip.pieces` and `seconds` (of no length: no speech), or None where nothing is kept."""
        try:
            with np.load(self._file(voice, longest)) as file:
                return file["pieces"], file["seconds"]
        except (OSError, KeyError, ValueError, zipfile.BadZipFile):
            return None

    def keep(self, voice: Voice, longest: float, pieces: Floats, seconds: Floats) -> None:
        """Keeps what was heard; the file is whole or not there."""
        with replacing(self._file(voice, longest)) as part, part.open("wb") as file:
            np.savez(file, pieces=pieces, seconds=seconds)

    def _file(self, voice: Voice, longest: float) -> Path:
        # The name decides how much silence comes before (`_hear_one`).
        digest = hashlib.sha256(f"{self._made_by} {longest} {voice.path.stem}\n".encode())
        digest.update(voice.path.read_bytes())
        return self._folder / f"{digest.hexdigest()[:32]}.npz"


_KEPT_FORMAT = 1
_NO_SPEECH: tuple[Floats, Floats] = (np.zeros((0, 0), np.float32), np.zeros(0, np.float32))


def _hear_one(voice: Voice, audio: Floats, encoder: Encoder, ear: Ear) -> tuple[Floats, Floats]:
    """`HeardClip.pieces` and `seconds` of a recording; of no length where it holds too little speech."""
    if len(audio) < _SHORTEST * 16000:
        return _NO_SPEECH
    rng = np.random.default_rng(crc32(voice.path.stem.encode()))
    lead = int(rng.integers(_LEAD)) if rng.random() < 0.5 else 0
    with torch.inference_mode():
        states = encoder(np.concatenate([np.zeros(lead * SAMPLES, np.float32), audio]))
        features = ear.features(states[lead:])
        levels = state_levels(torch.from_numpy(audio), len(features))
        share = ear.speech_of_clip(levels)
        # Pieces of equal amounts of speech, however long they take.
        piece = (share.cumsum(0) / _PIECE - 1e-6).clamp(min=0).long()
        count = int(piece[-1]) + 1
        sums = torch.zeros(count, features.shape[1]).index_add_(0, piece, share[:, None] * features)
        seconds = torch.zeros(count).index_add_(0, piece, share)
        keep = seconds > 0.25 * _PIECE if count > 1 else seconds > 0
        sums, seconds = sums[keep], seconds[keep]
    if float(seconds.sum()) < _SHORTEST * RATE:
        return _NO_SPEECH
    return (sums / seconds[:, None]).numpy(), (seconds / RATE).numpy()


# -- fitting -------------------------------------------------------------------


class Clips:
    """Heard clips as arrays: means (N, D), speakers (N,) numbered over all collections, emotions (N,) or -1."""

    def __init__(self, clips: Sequence[HeardClip]) -> None:
        self.clips = list(clips)
        self.means = np.stack([clip.mean for clip in clips])
        names = [f"{clip.voice.collection}/{clip.voice.speaker}" for clip in clips]
        self.speaker_names = sorted(set(names))
        where = {name: k for k, name in enumerate(self.speaker_names)}
        self.speakers = np.array([where[name] for name in names])
        self.collections = np.array([clip.voice.collection for clip in clips])
        self.bursts = np.array([clip.voice.bursts for clip in clips])
        self.emotions = np.array([-1 if c.voice.emotion is None else EMOTIONS.index(c.voice.emotion) for c in clips])

    def subset(self, mask: NDArray[np.bool_]) -> Clips:
        """The clips where `mask` (N,) is true."""
        return Clips([clip for clip, keep in zip(self.clips, mask, strict=True) if keep])

    def speaker_means(self) -> Floats:
        """(S, D) mean over each speaker's clips."""
        sums = np.zeros((len(self.speaker_names), self.means.shape[1]), np.float64)
        np.add.at(sums, self.speakers, self.means)
        return (sums / np.bincount(self.speakers, minlength=len(sums))[:, None]).astype(np.float32)


def check(clips: Clips) -> None:
    """Raises EarTrainingError where an ear cannot be fitted or measured."""
    told = clips.emotions >= 0
    labels = {EMOTIONS[k] for k in clips.emotions[told]}
    if len(labels) < 2:
        raise EarTrainingError(f"at least two emotions are needed, the recordings have {sorted(labels) or 'none'}")
    several = np.bincount(clips.speakers[told], minlength=1)
    if np.count_nonzero(several > 1) < 2:
        raise EarTrainingError("at least two speakers with two clips each are needed: an ear is measured on others")


def fit(clips: Clips, recipe: EarRecipe, config: EarConfig) -> Ear:
    """An ear from clips, its probabilities not yet calibrated."""
    rng = np.random.default_rng([recipe.seed, 11])
    told = np.flatnonzero(clips.emotions >= 0)
    usual = clips.speaker_means()
    away = clips.means - usual[clips.speakers]
    spreads = {name: away[told][clips.collections[told] == name].std(0) + 1e-4 for name in set(clips.collections[told])}
    speech = sorted({c for c, b in zip(clips.collections[told], clips.bursts[told], strict=True) if not b})
    spread = np.mean([spreads[name] for name in speech or spreads], axis=0)
    pool = _pool(clips, usual)
    centre = np.mean([means.mean(0) for means in pool], axis=0)
    weights = _weights(clips, told, recipe)
    known, unknown, targets, importance = [], [], [], []
    for number in range(recipe.passes):
        moved = _draw(clips, told, rng, whole=number % 2 == 0)
        scale = np.stack([spreads[name] for name in clips.collections[told]])
        known.append((moved - _pictures(clips, told, rng)) / scale)
        voices = np.stack([pool[k][rng.integers(len(pool[k]))] for k in rng.integers(len(pool), size=len(told))])
        unknown.append((moved - usual[clips.speakers[told]]) / scale + (voices - centre) / spread)
        targets.append(clips.emotions[told])
        importance.append(weights)
    ear = Ear(config)
    ear.centre, ear.spread = torch.from_numpy(centre).float(), torch.from_numpy(spread).float()
    emotions, importances = torch.from_numpy(np.concatenate(targets)), torch.from_numpy(np.concatenate(importance))
    for name, rows in (("known", known), ("unknown", unknown)):
        weight, bias = _regress(torch.from_numpy(np.concatenate(rows)).float(), emotions, importances, recipe.ridge)
        setattr(ear, name, weight)
        setattr(ear, f"{name}_bias", bias)
    return ear


def _pool(clips: Clips, usual: Floats) -> list[Floats]:
    """Means of all speakers that talk, (S, D) of each collection; of all there are where nobody does."""
    speaks = np.zeros(len(usual), bool)
    speaks[clips.speakers[~clips.bursts]] = True
    if not speaks.any():
        speaks[:] = True
    owner = np.array([name.split("/", 1)[0] for name in clips.speaker_names])
    return [usual[(owner == name) & speaks] for name in sorted(set(owner[speaks]))]


def _weights(clips: Clips, told: NDArray[np.int64], recipe: EarRecipe) -> Floats:
    """(n,) weights: each collection counts the same, and each emotion within it."""
    weights = np.zeros(len(told), np.float32)
    for name in set(clips.collections[told]):
        inside = clips.collections[told] == name
        labels, counts = np.unique(clips.emotions[told][inside], return_counts=True)
        share = recipe.burst_weight if clips.bursts[told][inside].all() else 1.0
        for label, count in zip(labels, counts, strict=True):
            weights[inside & (clips.emotions[told] == label)] = share / (len(labels) * count)
    return weights


def _draw(clips: Clips, told: NDArray[np.int64], rng: np.random.Generator, whole: bool) -> Floats:
    """(n, D): each clip's mean, or that of one to three pieces of it that follow each other."""
    if whole:
        return clips.means[told]
    rows = []
    for index in told:
        clip = clips.clips[index]
        length = min(int(rng.integers(1, 4)), len(clip.pieces))
        start = int(rng.integers(len(clip.pieces) - length + 1))
        part = slice(start, start + length)
        rows.append(clip.seconds[part] @ clip.pieces[part] / clip.seconds[part].sum())
    return np.stack(rows)


def _pictures(clips: Clips, told: NDArray[np.int64], rng: np.random.Generator) -> Floats:
    """(n, D): what each clip's speaker usually sounds like by 4 of his clips or more."""
    by_speaker = {speaker: np.flatnonzero(clips.speakers == speaker) for speaker in set(clips.speakers[told])}
    rows = []
    for index in told:
        own = by_speaker[clips.speakers[index]]
        if len(own) > 4 and rng.random() < 0.7:
            own = rng.choice(own, int(rng.integers(4, len(own))), replace=False)
        rows.append(clips.means[own].mean(0))
    return np.stack(rows)


def _regress(rows: Tensor, emotions: Tensor, weights: Tensor, ridge: float) -> tuple[Tensor, Tensor]:
    """Multinomial logistic regression of emotions (n,) on rows (n, D): weights (L, D) and biases (L,)."""
    share = (weights / weights.sum()).float()
    weight = torch.zeros(len(EMOTIONS), rows.shape[1], requires_grad=True)
    bias = torch.zeros(len(EMOTIONS), requires_grad=True)
    optimizer = torch.optim.LBFGS(
        [weight, bias], max_iter=60, history_size=10, line_search_fn="strong_wolfe", tolerance_grad=1e-6
    )

    def closure() -> Tensor:
        optimizer.zero_grad()
        scores = functional.linear(rows, weight, bias)
        loss = (share * functional.cross_entropy(scores, emotions, reduction="none")).sum()
        loss = loss + 0.5 * ridge * weight.square().sum()
        loss.backward()
        return loss

    optimizer.step(closure)
    return weight.detach(), bias.detach()


# -- measuring -----------------------------------------------------------------


@dataclass(frozen=True)
class Predictions:
    """What an ear said of clips that its fit did not have: probabilities (N, L), and the truth (N,) as indices of home
    labels.
    """

    probabilities: Floats
    emotions: NDArray[np.int64]

    @property
    def recall(self) -> float:
        """Unweighted recall over the emotions that occur."""
        hit = self.probabilities.argmax(1) == self.emotions
        return float(np.mean([hit[self.emotions == label].mean() for label in np.unique(self.emotions)]))

    @property
    def arousal_recall(self) -> float:
        """Unweighted recall of high against low arousal; NaN where only one occurs."""
        high = np.isin(self.emotions, [EMOTIONS.index(name) for name in HIGH_AROUSAL])
        if high.all() or not high.any():
            return float("nan")
        heard = self.probabilities[:, [k for k, name in enumerate(EMOTIONS) if name in HIGH_AROUSAL]].sum(1)
        return float((np.mean(heard[high] > 0.5) + np.mean(heard[~high] <= 0.5)) / 2)

    @property
    def valence_recall(self) -> float:
        """Unweighted recall of pleasant (happy, calm) against unpleasant (sad, angry, fearful, disgust)."""
        worth = np.array([VALENCE[name] for name in EMOTIONS])
        good, bad = (np.isin(self.emotions, np.flatnonzero(side)) for side in (worth > 0.66, worth < 0.4))
        if not good.any() or not bad.any():
            return float("nan")
        heard = self.probabilities @ worth
        return float((np.mean(heard[good] > 0.5) + np.mean(heard[bad] <= 0.5)) / 2)

    @property
    def calibration_error(self) -> float:
        """Expected calibration error in ten bins of confidence (Guo et al. 2017)."""
        return calibration_error(self.probabilities, self.emotions)

    @property
    def confusion(self) -> NDArray[np.int64]:
        """(L, L) counts, row the actual label, column the likeliest one."""
        matrix = np.zeros((len(EMOTIONS), len(EMOTIONS)), np.int64)
        np.add.at(matrix, (self.emotions, self.probabilities.argmax(1)), 1)
        return matrix

    def figures(self) -> dict[str, float]:
        """What a card states."""
        return {
            "clips": float(len(self.emotions)),
            "recall": round(self.recall, 3),
            "arousal": round(self.arousal_recall, 3),
            "valence": round(self.valence_recall, 3),
            "calibration_error": round(self.calibration_error, 3),
        }


def calibration_error(probabilities: Floats, truth: NDArray[np.int64], bins: int = 10) -> float:
    """Mean gap between confidence and accuracy, weighted by how many clips have that confidence."""
    confidence, hit = probabilities.max(1), probabilities.argmax(1) == truth
    bin_of = np.minimum((confidence * bins).astype(int), bins - 1)
    gaps = [abs(confidence[bin_of == b].sum() - hit[bin_of == b].sum()) for b in np.unique(bin_of)]
    return float(sum(gaps) / len(truth))


def predict(ear: Ear, clips: Clips, known: bool) -> Predictions:
    """What `ear` says of every clip with an emotion: of each alone, or given the other clips of its speaker."""
    told = np.flatnonzero(clips.emotions >= 0)
    scores = torch.from_numpy(_scores(ear, clips, told, known))
    return Predictions(scores.softmax(1).numpy(), clips.emotions[told])


def _scores(ear: Ear, clips: Clips, told: NDArray[np.int64], known: bool) -> Floats:
    """(n, L) scores of whole clips."""
    means, seconds, trusts, lengths = [], [], [], []
    length = np.array([clip.seconds.sum() for clip in clips.clips])
    for index in told:
        others = np.flatnonzero((clips.speakers == clips.speakers[index]) & (np.arange(len(length)) != index))
        if known and len(others):
            picture = SpeakerPicture(
                torch.from_numpy(np.average(clips.means[others], axis=0, weights=length[others])).float(),
                float(length[others].sum()),
            )
        else:
            picture = SpeakerPicture(torch.zeros(clips.means.shape[1]))
        means.append(picture.mean)
        trusts.append(ear.trust(picture.seconds))
        seconds.append(picture.seconds)
        lengths.append(length[index])
    own = torch.from_numpy(clips.means[told])
    scores = ear.scores(own, torch.stack(means), torch.tensor(trusts), torch.tensor(lengths, dtype=torch.float32))
    return scores.numpy()


@dataclass(frozen=True)
class Trained:
    """An ear, what it said of speakers held out (in turn, each by a fit without him) and the recordings behind it."""

    ear: Ear
    single: Predictions
    known: Predictions
    by_collection: dict[str, tuple[Predictions, Predictions]]
    """The same for each collection: single clips, speakers known."""
    strange: dict[str, tuple[Predictions, Predictions]]
    """For each collection of speech, if there are several: by an ear that never heard that collection."""
    temperatures: tuple[float, float]
    """That the scores were divided by: single clips, speaker known."""
    doubt: float
    """Factor in them, see `EarRecipe.doubt`."""


def train_ear(
    clips: Clips, recipe: EarRecipe, config: EarConfig, progress: Callable[[str], None] | None = None
) -> Trained:
    """Cross-validates by speakers (and collections), calibrates on what was held out, and fits the ear on everything.

    Raises EarTrainingError for too few speakers or emotions.
    """
    check(clips)
    say = progress or (lambda _: None)
    # Bursts say little of how speech will be judged: they teach, and are not measured, where there is speech.
    told = clips.emotions >= 0
    measured = told & ~clips.bursts if (told & ~clips.bursts).any() else told
    rests = {f"speakers, part {k + 1}": part for k, part in enumerate(_folds(clips, measured, recipe))}
    collections = sorted(set(clips.collections[measured]))
    apart = {name: measured & (clips.collections == name) for name in collections if _teaches(clips, name)}
    outcomes: dict[str, list[tuple[Clips, Floats, Floats]]] = {"speakers": [], "collections": []}
    for kind, parts in (("speakers", rests), ("collections", apart)):
        for name, part in parts.items():
            say(f"without {name}")
            ear = fit(clips.subset(~_of_speakers(clips, part)), recipe, config)
            held = clips.subset(part)
            rows = np.arange(len(held.clips))
            outcomes[kind].append((held, _scores(ear, held, rows, False), _scores(ear, held, rows, True)))
    say("everything")
    ear = fit(clips, recipe, config)
    by_speakers, by_collections = outcomes["speakers"], outcomes["collections"]
    temperatures = [recipe.doubt * _temperature(by_speakers, which) for which in (1, 2)]
    _cool(ear, *temperatures)

    def both(parts: list[tuple[Clips, Floats, Floats]], name: str | None = None) -> tuple[Predictions, Predictions]:
        return _gather(parts, 1, temperatures, name), _gather(parts, 2, temperatures, name)

    single, known = both(by_speakers)
    return Trained(
        ear,
        single,
        known,
        {name: both(by_speakers, name) for name in collections},
        {name: both(by_collections, name) for name in apart},
        (temperatures[0], temperatures[1]),
        recipe.doubt,
    )


def hold_out_speakers(clips: Clips, names: Sequence[str]) -> tuple[Clips, Clips | None]:
    """The clips of all speakers but `names` (COLLECTION/SPEAKER), and those of these, or None.

    Raises EarTrainingError for a speaker who is not there.
    """
    if not names:
        return clips, None
    unknown = sorted(set(names) - set(clips.speaker_names))
    if unknown:
        raise EarTrainingError(f"no speaker {', '.join(unknown)}; there are {', '.join(clips.speaker_names[:20])}")
    chosen = np.isin(clips.speakers, [clips.speaker_names.index(name) for name in names])
    return clips.subset(~chosen), clips.subset(chosen)


def _folds(clips: Clips, measured: NDArray[np.bool_], recipe: EarRecipe) -> list[NDArray[np.bool_]]:
    """Masks of the clips held out in each fold: all clips of its speakers, collections spread over the folds."""
    speakers = np.unique(clips.speakers[measured])
    order = np.random.default_rng([recipe.seed, 5]).permutation(len(speakers))
    # Speakers are numbered collection by collection: dealing them out in order spreads each collection.
    of_collection = np.array([clips.speaker_names[s].split("/", 1)[0] for s in speakers])[order]
    dealt = speakers[order][np.argsort(of_collection, kind="stable")]
    count = min(recipe.folds, len(speakers))
    return [measured & np.isin(clips.speakers, dealt[k::count]) for k in range(count)]


def _of_speakers(clips: Clips, part: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """All clips of the speakers of a part: whoever is held out is not heard at all."""
    return np.isin(clips.speakers, np.unique(clips.speakers[part]))


def _teaches(clips: Clips, without: str) -> bool:
    """Whether an ear can be fitted without a collection."""
    rest = clips.emotions[(clips.emotions >= 0) & (clips.collections != without)]
    return len(np.unique(rest)) >= 2


def _temperature(parts: list[tuple[Clips, Floats, Floats]], which: int) -> float:
    """The temperature of least cross-entropy on what was held out."""
    scores = torch.from_numpy(np.concatenate([part[which] for part in parts]))
    truth = torch.from_numpy(np.concatenate([part[0].emotions for part in parts]))
    grid = torch.logspace(-0.7, 1.0, 69)
    losses = [float(functional.cross_entropy(scores / temperature, truth)) for temperature in grid]
    return float(grid[int(np.argmin(losses))])


def _cool(ear: Ear, unknown: float, known: float) -> None:
    """Divides the emotions' scores by the temperatures."""
    for name, temperature in (("unknown", unknown), ("known", known)):
        for part in (getattr(ear, name), getattr(ear, f"{name}_bias")):
            part /= temperature


def _gather(
    outcomes: list[tuple[Clips, Floats, Floats]], which: int, temperatures: list[float], collection: str | None = None
) -> Predictions:
    """Calibrated predictions of all parts held out, or those of one collection."""
    scores = np.concatenate([outcome[which] for outcome in outcomes])
    held = [clip for outcome in outcomes for clip in outcome[0].clips]
    keep = np.array([collection in (None, clip.voice.collection) for clip in held])
    truth = np.array([EMOTIONS.index(clip.voice.emotion or "") for clip in held])
    probabilities = (torch.from_numpy(scores[keep]) / temperatures[which - 1]).softmax(1)
    return Predictions(probabilities.numpy(), truth[keep])


class Noticed(Protocol):
    """How well another speaker is noticed (`ear_voices.Noticing`)."""

    def figures(self) -> dict[str, float]:
        """What a card states."""
        ...


def with_figures(
    trained: Trained,
    config: EarConfig,
    tested: tuple[Predictions, Predictions] | None = None,
    sources: tuple[dict[str, Any], ...] = (),
    noticing: Mapping[str, Noticed] | None = None,
) -> EarConfig:
    """`config` with the measured figures and the collections behind the ear in it."""

    def pair(both: tuple[Predictions, Predictions]) -> dict[str, dict[str, float]]:
        return {"single clips": both[0].figures(), "speaker known": both[1].figures()}

    figures: dict[str, Any] = {"other speakers": {name: pair(both) for name, both in trained.by_collection.items()}}
    figures["collection never heard"] = {name: pair(both) for name, both in trained.strange.items()}
    if tested is not None:
        figures["speakers kept out to the end"] = pair(tested)
    if noticing:
        figures["another speaker"] = {name: told.figures() for name, told in noticing.items()}
    return replace(config, figures=figures, sources=sources)
