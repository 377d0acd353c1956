"""The ear: which emotion a voice carries, heard relative to how this speaker usually sounds.

An ear is a small file apart from the network that animates. It reads the states of a pretrained speech encoder (50 a
second) and knows nothing else of the sound but its level. All it does is linear: the mean of the states over recent
speech, less what this speaker usually sounds like (the *picture* of the speaker), through one matrix into the
probabilities of the emotions. Arousal and valence are sums of those, which proved more reliable than regressions of
their own. A second matrix serves voices nobody has heard yet; what it says fades into the first one's answer as speech
of that voice accumulates.

Subtracting the speaker's own mean is the usual normalisation of speech emotion recognition (Busso et al. 2013,
*Iterative feature normalization scheme for automatic emotion detection from speech*).
"""

from __future__ import annotations

import hashlib
import json
import logging
import os
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path

import torch
from pydantic import TypeAdapter, ValidationError
from safetensors.torch import load_file, save
from torch import Tensor, nn

from emotalk_ros.emotions import HIGH_AROUSAL
from emotalk_ros.model.ear_config import (
    CONFIG,
    RATE,
    SAMPLES,
    VALENCE,
    WEIGHTS,
    EarConfig,
    EarError,
    ear_path,
)
from emotalk_ros.model.locations import CheckpointError
from emotalk_ros.model.weights import check_finite, check_limits, check_sizes, read_json

_FORMAT = 1
_BLOCK = 64  # states that one matrix product sums up
_QUIETEST = -60.0  # dB re full scale below which nothing counts as speech
_FALL = 2.0  # dB a second by which the loudest so far is forgotten
_LOG = logging.getLogger(__name__)


_SCHEMA = TypeAdapter(EarConfig)


@dataclass
class SpeakerPicture:
    """How a speaker usually sounds: `mean` (D,) of the features over his speech, and `seconds` of speech behind it."""

    mean: Tensor
    seconds: float = 0.0


@dataclass
class EarState:
    """What an ear remembers of one stream. `Ear.begin` makes it, `Ear.hear` carries it on."""

    picture: SpeakerPicture
    recent: Tensor
    """(D,) features of recent speech, summed with weights in seconds."""
    recent_seconds: float = 0.0
    loudest: float = _QUIETEST
    """dB re full scale, forgotten slowly."""
    watch: VoiceWatch | None = None
    """Notices another speaker; None: nobody does."""

    def reset(self) -> None:
        """Forgets the speaker and what was said: as new."""
        if self.watch is not None:
            self.watch.reset()
        self.picture = SpeakerPicture(torch.zeros_like(self.picture.mean))
        self.recent = torch.zeros_like(self.recent)
        self.recent_seconds, self.loudest = 0.0, _QUIETEST


class VoiceWatch:
    """Notices that another person speaks: recent speech no longer sounds like the speech before it.

    Speech is gathered in cells of `CELL` seconds; the mean of the last `CELLS` of them is held against the mean of what
    came before, in the numbers that tell voices apart (`Ear.voices`, a linear discriminant analysis: 1 is how far one
    speaker's own means differ). It takes `CELLS` cells before and after; a change is found when `LOOKS` looks in a row
    say so. What the picture goes by then is the later half of the recent speech.
    """

    CELL = 0.5
    CELLS = 12
    LOOKS = 2

    def __init__(self, voices: Tensor, limit: float, memory: float) -> None:
        self._voices, self._limit, self._memory = voices, limit, memory
        self.changes = 0
        """How often another speaker was noticed."""
        self.reset()

    def reset(self) -> None:
        """Nobody was heard."""
        width = self._voices.shape[1] + 1
        self._cells: list[Tensor] = []  # sums of features and seconds of recent speech
        self._open = torch.zeros(width)
        self._open_seconds = 0.0
        self._before = torch.zeros(width)
        self._said = 0  # looks in a row that found somebody else

    def follow(self, features: Tensor, share: Tensor) -> list[tuple[int, SpeakerPicture]]:
        """Takes the next states (T, D) with their shares of speech (T,).

        Returns the states after which another speaker was noticed, each with the picture of him so far.
        """
        found = []
        start = 0
        for at, spoken in enumerate((share / RATE).tolist()):
            self._open_seconds += spoken
            if self._open_seconds < self.CELL:
                continue
            self._gather(features[start : at + 1], share[start : at + 1])
            start = at + 1
            if (picture := self._look()) is not None:
                found.append((at, picture))
        self._gather(features[start:], share[start:])
        return found

    def _gather(self, features: Tensor, share: Tensor) -> None:
        weights = share.double() / RATE
        sums = weights @ features.double()
        self._open = self._open + torch.cat([sums, weights.sum()[None]]).float()

    def _look(self) -> SpeakerPicture | None:
        """Closes a cell; the picture of another speaker where there is one."""
        self._cells.append(self._open)
        self._open, self._open_seconds = torch.zeros_like(self._open), 0.0
        if len(self._cells) <= self.CELLS:
            return None
        oldest = self._cells.pop(0)
        self._before = self._before * float(torch.exp(-oldest[-1] / self._memory)) + oldest
        if self._before[-1] < self.CELL * self.CELLS:
            return None
        recent = torch.stack(self._cells).sum(0)
        self._said = self._said + 1 if self._distance(recent) > self._limit else 0
        if self._said < self.LOOKS:
            return None
        self.changes += 1
        self._before, self._said = recent, 0
        later = torch.stack(self._cells[self.CELLS // 2 :]).sum(0)
        self._cells = []
        return SpeakerPicture(later[:-1] / later[-1], float(later[-1]))

    def _distance(self, recent: Tensor) -> float:
        """Squared, of recent speech from that before it, as if there had been endlessly much of the latter."""
        apart = self._voices @ (recent[:-1] / recent[-1] - self._before[:-1] / self._before[-1])
        return float(apart.square().sum() / (1.0 + recent[-1] / self._before[-1]))


@dataclass(frozen=True)
class EarReading:
    """What was heard at each of T states, or one for a whole clip (T = 1).

    `probabilities` (T, L) calibrated and summing to 1; `arousal` (T,) 0..1: the probability
    that the emotion is one of high arousal (`HIGH_AROUSAL`); `valence` (T,) 0..1: mean of `VALENCE`, above 0.5
    pleasant; `trust` (T,) 0..1: how sure the picture of the speaker is (0: nobody known, half after
    `EarConfig.trust` seconds of his speech); `speech` (T,) 0..1, the share of each state that counted as speech.
    """

    probabilities: Tensor
    arousal: Tensor
    valence: Tensor
    trust: Tensor
    speech: Tensor


class Ear(nn.Module):
    """The matrices of an ear, and listening with them.

    Rows of `known` (L, D) and `unknown` (L, D) give the labels' scores. `centre` (D,) is what an average voice sounds
    like, `spread` (D,) how far emotion moves one voice. `voices` (`EarConfig.voices`, D) tells voices apart.
    """

    known: Tensor
    known_bias: Tensor
    unknown: Tensor
    unknown_bias: Tensor
    centre: Tensor
    spread: Tensor
    voices: Tensor

    def __init__(self, config: EarConfig) -> None:
        super().__init__()
        self.config = config
        rows, width = len(config.labels), config.features
        for name in ("known", "unknown"):
            self.register_buffer(name, torch.zeros(rows, width))
            self.register_buffer(f"{name}_bias", torch.zeros(rows))
        self.register_buffer("centre", torch.zeros(width))
        self.register_buffer("spread", torch.ones(width))
        self.register_buffer("voices", torch.zeros(config.voices, width))

    @property
    def digest(self) -> str:
        """Tells one ear from another: changes with its weights and with how it listens."""
        settings = {k: v for k, v in asdict(self.config).items() if k not in ("sources", "figures", "licence", "name")}
        found = hashlib.sha256(json.dumps(settings, sort_keys=True).encode())
        for name, value in sorted(self.state_dict().items()):
            found.update(name.encode() + value.float().numpy().tobytes())
        return found.hexdigest()[:16]

    # -- features ------------------------------------------------------------

    def features(self, states: Tensor) -> Tensor:
        """(T, D) feature vectors of encoder states (T, layers of the encoder, width).

        Raises ValueError for another shape.
        """
        highest = max(self.config.layers)
        if states.ndim != 3 or states.shape[1] <= highest or states.shape[2] != self.config.width:
            raise ValueError(
                f"ear {self.config.name!r} reads layers {list(self.config.layers)} of width {self.config.width}: "
                f"expected states (T, more than {highest}, {self.config.width}), got {tuple(states.shape)}"
            )
        return states[:, list(self.config.layers)].flatten(1).float()

    def speech(self, levels: Tensor, loudest: float = _QUIETEST) -> tuple[Tensor, float]:
        """Share of speech (T,) in the next states of a stream, of `levels` (T,) dB, and the loudest so far."""
        fall = _FALL / RATE
        time = torch.arange(1, len(levels) + 1, dtype=levels.dtype, device=levels.device) * fall
        # A peak follower that falls evenly: the running maximum of levels on a slope.
        rising = torch.cat([levels.new_tensor([loudest]), levels + time])
        loud = (rising.cummax(0).values[1:] - time).clamp(min=_QUIETEST)
        return self._share(levels, loud), float(loud[-1]) if len(levels) else loudest

    # -- clips ---------------------------------------------------------------

    def picture(self, clips: Sequence[tuple[Tensor, Tensor]]) -> SpeakerPicture:
        """The picture of a speaker from clips of his: pairs of states (T, layers, width) and levels (T,) dB."""
        total, seconds = torch.zeros(self.config.features), 0.0
        for states, levels in clips:
            mean, length = self.clip_mean(states, levels)
            total, seconds = total + mean * length, seconds + length
        return SpeakerPicture(total / max(seconds, 1e-6), seconds)

    def clip_mean(self, states: Tensor, levels: Tensor) -> tuple[Tensor, float]:
        """Mean (D,) of the features over the speech of a whole clip, and the seconds of speech in it."""
        if len(levels) != len(states):
            raise ValueError(f"{len(states)} states and {len(levels)} levels: there must be as many")
        share = self.speech_of_clip(levels.float())
        mean = (share[:, None] * self.features(states)).sum(0) / share.sum().clamp(min=1e-6)
        return mean, float(share.sum()) / RATE

    def speech_of_clip(self, levels: Tensor) -> Tensor:
        """Share of speech (T,) in the states of a whole clip, by its loudest sound."""
        loudest = levels.amax().clamp(min=_QUIETEST) if len(levels) else levels.new_tensor(_QUIETEST)
        return self._share(levels, loudest)

    def _share(self, levels: Tensor, loudest: Tensor) -> Tensor:
        return torch.sigmoid((levels - loudest + self.config.below_loud) / 2.0) * (levels > _QUIETEST)

    def trust(self, seconds: float) -> float:
        """How sure a picture of so many seconds of speech is, 0..1."""
        return seconds / (seconds + self.config.trust)

    def read_clip(self, states: Tensor, levels: Tensor, picture: SpeakerPicture | None = None) -> EarReading:
        """One reading (T = 1) of a whole clip; `picture` if other clips of the same speaker are there."""
        return self.read_mean(*self.clip_mean(states, levels), picture)

    def read_mean(self, mean: Tensor, seconds: float, picture: SpeakerPicture | None = None) -> EarReading:
        """`read_clip` of what `clip_mean` gave."""
        picture = picture or SpeakerPicture(torch.zeros_like(mean))
        trust = torch.tensor([self.trust(picture.seconds)])
        scores = self.scores(mean[None], picture.mean[None], trust, torch.tensor([seconds]))
        return self._reading(scores, trust, torch.tensor([min(1.0, seconds)]))

    # -- streams -------------------------------------------------------------

    def begin(self, picture: SpeakerPicture | None = None, watch: bool = True) -> EarState:
        """The state of a new stream; nobody is known but whom `picture` shows.

        `watch`: notice another speaker, and begin his picture anew, where this ear can.
        """
        zeros = torch.zeros(self.config.features)
        state = EarState(picture=replace(picture) if picture else SpeakerPicture(zeros.clone()), recent=zeros)
        if watch and self.config.voices and self.config.change > 0:
            state.watch = VoiceWatch(self.voices, self.config.change, self.config.memory)
        return state

    def hear(self, states: Tensor, levels: Tensor, state: EarState) -> EarReading:
        """Readings of the next T states of a stream (T, layers, width) and `levels` (T,) dB; `state` is carried on.

        Causal: reading t depends on states up to t. However a stream is cut, the readings are the same.
        """
        if len(levels) != len(states):
            raise ValueError(f"{len(states)} states and {len(levels)} levels: there must be as many")
        features = self.features(states)
        share, state.loudest = self.speech(levels.float(), state.loudest)
        parts = []
        found = state.watch.follow(features, share) if state.watch is not None else []
        start = 0
        for at, picture in [*found, (len(features) - 1, None)]:
            for k in range(start, at + 1, _BLOCK):
                stop = min(k + _BLOCK, at + 1)
                parts.append(self._hear_block(features[k:stop], share[k:stop], state))
            state.picture = picture or state.picture
            start = at + 1
        means, seconds, usual, known = (
            (torch.cat(each) for each in zip(*parts, strict=True)) if parts else (features, share, features, share)
        )
        trust = known / (known + self.config.trust)
        return self._reading(self.scores(means, usual, trust, seconds), trust, share)

    def _hear_block(self, features: Tensor, share: Tensor, state: EarState) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """Recent speech, its seconds, the speaker's picture and its seconds after each of a few states."""
        settings, step, part = self.config, 1.0 / RATE, share.double()
        recent = _fading(
            torch.cat([features, torch.ones_like(share)[:, None]], 1).double() * (part * step)[:, None],
            step * (part / settings.window + (1.0 - part) / settings.pause),
            torch.cat([state.recent.double(), torch.tensor([state.recent_seconds], dtype=torch.float64)]),
        )
        seconds = state.picture.seconds
        picture = _fading(
            torch.cat([features, torch.ones_like(share)[:, None]], 1).double() * (part * step)[:, None],
            step * part / settings.memory,
            torch.cat([state.picture.mean.double() * seconds, torch.tensor([seconds], dtype=torch.float64)]),
        )
        means, usual = (sums[:, :-1] / sums[:, -1:].clamp(min=1e-9) for sums in (recent, picture))
        state.recent, state.recent_seconds = recent[-1, :-1].float(), float(recent[-1, -1])
        state.picture = SpeakerPicture(usual[-1].float(), float(picture[-1, -1]))
        return means.float(), recent[:, -1].float(), usual.float(), picture[:, -1].float()

    # -- scores --------------------------------------------------------------

    def scores(self, means: Tensor, usual: Tensor, trust: Tensor, seconds: Tensor) -> Tensor:
        """(T, L) scores of recent speech `means` (T, D) of voices that usually sound like `usual` (T, D)."""
        against_all = (means - self.centre) / self.spread
        against_own = (means - usual) / self.spread
        sure = trust[:, None]
        evidence = (seconds / (seconds + self.config.evidence))[:, None]
        moved = (1.0 - sure) * (against_all @ self.unknown.T) + sure * (against_own @ self.known.T)
        return evidence * (moved + (1.0 - sure) * self.unknown_bias + sure * self.known_bias)

    def _reading(self, scores: Tensor, trust: Tensor, speech: Tensor) -> EarReading:
        probabilities = scores.softmax(-1)
        high = probabilities[:, [k for k, name in enumerate(self.config.labels) if name in HIGH_AROUSAL]].sum(1)
        worth = torch.tensor([VALENCE[name] for name in self.config.labels])
        return EarReading(probabilities, high, probabilities @ worth, trust, speech)

    # -- folders -------------------------------------------------------------

    def save(self, folder: Path) -> None:
        """Writes config.json and ear.safetensors into `folder` (which must exist)."""
        settings = {"format": _FORMAT, **asdict(self.config)}
        (folder / CONFIG).write_text(json.dumps(settings, indent=2) + "\n", encoding="utf-8")
        weights = save({name: value.contiguous() for name, value in self.state_dict().items()})
        (folder / WEIGHTS).write_bytes(weights)


def _fading(values: Tensor, decay: Tensor, before: Tensor) -> Tensor:
    """Running sums (T, C) of `values` (T, C) after `before` (C,), all that is there times exp(-decay) at each of T."""
    age = decay.cumsum(0)
    weights = torch.exp(age[None, :] - age[:, None]).tril()
    return weights @ values + torch.exp(-age)[:, None] * before


def state_levels(samples: Tensor, states: int) -> Tensor:
    """Levels (states,) in dB re full scale of the 40 ms around each state, of samples (N,) at 16 kHz.

    State k is centred at sample 320 k; what lies outside the samples is silence.
    """
    needed = (states + 1) * SAMPLES
    padded = nn.functional.pad(samples.double(), (SAMPLES, max(0, needed - len(samples))))
    energy = nn.functional.pad(padded.square().cumsum(0), (1, 0))
    first = torch.arange(states, device=samples.device) * SAMPLES
    power = (energy[first + 2 * SAMPLES] - energy[first]) / (2 * SAMPLES)
    return (10.0 * torch.log10(power.clamp(min=0.0) + 1e-10)).float()


def load_ear(name_or_path: str | os.PathLike[str] = "free") -> Ear:
    """An ear by name or folder; its licence is told in the log.

    Raises EarError for a folder that is missing, damaged or of a later version of this package.
    """
    folder = ear_path(name_or_path)
    remedy = "copy the folder again from where it came, or `emotalk train ear --data FOLDER` makes one"
    try:
        settings = read_json(folder / CONFIG)
        if settings.pop("format", None) != _FORMAT:
            raise EarError(
                f"{folder / CONFIG} is no ear of format {_FORMAT}: use the version of this package it is for"
            )
        for name, value in settings.items():
            check_limits(name, value, f"{folder / CONFIG}: {name}")
        for name in ("layers", "labels", "sources"):
            settings[name] = tuple(settings[name])
        config = _SCHEMA.validate_python(settings)
        with torch.device("meta"):
            planned = Ear(config)
        check_sizes(planned, [folder / WEIGHTS], folder)
        ear = Ear(config)
        # Ears that tell no voices apart may lack the (empty) matrix for it.
        empty = {} if config.voices else {"voices": ear.voices}
        ear.load_state_dict({**empty, **load_file(folder / WEIGHTS)})
        check_finite(ear.state_dict(), folder / WEIGHTS)
    except CheckpointError as error:
        raise EarError(f"the ear cannot be loaded: {error}") from error
    except ValidationError as error:
        fault = error.errors(include_url=False)[0]
        key = ".".join(map(str, fault["loc"]))
        raise EarError(f"{folder / CONFIG}: cannot be loaded: {key} {fault['msg']}; {remedy}") from error
    except Exception as error:  # of torch and safetensors, on files cut short and values that contradict each other
        raise EarError(f"the ear in {folder} cannot be loaded: {error}; {remedy}") from error
    _LOG.info("ear %r from %s, licence: %s", ear.config.name, folder, ear.config.licence)
    return ear.eval()
