"""The ear: which emotion a voice carries, heard relative to how this speaker usually sounds.

An ear is a small file apart from the network that animates. It reads the states of a pretrained speech encoder (50 a
second) and knows nothing else of the sound but its level. All it does is linear: the mean of the states over recent
speech, less what this speaker usually sounds like (the *picture* of the speaker), through one matrix into the
probabilities of the emotions. Arousal and valence are sums of those, which proved more reliable than regressions of
their own. A second matrix serves voices nobody has heard yet; what it says fades into the first one's answer as speech
of that voice accumulates. Here are the matrices, as training makes them, and readings of whole clips; how a stream is
heard stands in `model.ear_stream`, which needs no torch.

Subtracting the speaker's own mean is the usual normalisation of speech emotion recognition (Busso et al. 2013,
*Iterative feature normalization scheme for automatic emotion detection from speech*).
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import torch
from safetensors.torch import save
from torch import Tensor, nn

from emotalk_ros.emotions import HIGH_AROUSAL
from emotalk_ros.model.ear_config import (
    CONFIG,
    FORMAT,
    RATE,
    VALENCE,
    WEIGHTS,
    EarConfig,
    EarError,
    ear_path,
    ear_shapes,
    read_ear,
)
from emotalk_ros.model.ear_stream import QUIETEST, ListenerState, StreamingEar, check_states, levels_of, scores_of

__all__ = ["Ear", "EarConfig", "EarError", "EarReading", "EarState", "SpeakerPicture", "ear_path", "load_ear"]


@dataclass
class SpeakerPicture:
    """How a speaker usually sounds: `mean` (D,) of the features over his speech, and `seconds` of speech behind it."""

    mean: Tensor
    seconds: float = 0.0


class EarState(ListenerState):
    """What an ear remembers of one stream. `Ear.begin` makes it, `Ear.hear` carries it on."""

    @property
    def picture(self) -> SpeakerPicture:
        """The speaker so far."""
        seconds = float(self.speaker[-1])
        return SpeakerPicture(torch.from_numpy(self.speaker[:-1] / max(seconds, 1e-9)).float(), seconds)


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
        for name, shape in ear_shapes(config).items():
            self.register_buffer(name, torch.ones(shape) if name == "spread" else torch.zeros(shape))

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
        check_states(self.config, tuple(states.shape))
        return states[:, list(self.config.layers)].flatten(1).float()

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
        loudest = levels.amax().clamp(min=QUIETEST) if len(levels) else levels.new_tensor(QUIETEST)
        return self._share(levels, loudest)

    def _share(self, levels: Tensor, loudest: Tensor) -> Tensor:
        return torch.sigmoid((levels - loudest + self.config.below_loud) / 2.0) * (levels > QUIETEST)

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
        begun = StreamingEar.of(self).begin(watch)
        state = EarState(begun.recent, begun.speaker, begun.loudest, begun.watch)
        if picture is not None:
            state.speaker[:] = [*(picture.mean.double() * picture.seconds).tolist(), picture.seconds]
        return state

    def hear(self, states: Tensor, levels: Tensor, state: EarState) -> EarReading:
        """Readings of the next T states (T, layers, width) and `levels` (T,) dB of a stream: `StreamingEar.listen`."""
        rows, share = StreamingEar.of(self).listen(states.numpy(), levels.numpy(), state)
        count = len(self.config.labels)
        said = torch.from_numpy(rows)
        arousal, valence, trust = said[:, count:].unbind(1)
        return EarReading(said[:, :count], arousal, valence, trust, torch.from_numpy(share))

    # -- scores --------------------------------------------------------------

    def scores(self, means: Tensor, usual: Tensor, trust: Tensor, seconds: Tensor) -> Tensor:
        """(T, L) scores of recent speech `means` (T, D) of voices that usually sound like `usual` (T, D)."""
        return scores_of(self.state_dict(), means, usual, trust, seconds / (seconds + self.config.evidence))

    def _reading(self, scores: Tensor, trust: Tensor, speech: Tensor) -> EarReading:
        probabilities = scores.softmax(-1)
        high = probabilities[:, [k for k, name in enumerate(self.config.labels) if name in HIGH_AROUSAL]].sum(1)
        worth = torch.tensor([VALENCE[name] for name in self.config.labels])
        return EarReading(probabilities, high, probabilities @ worth, trust, speech)

    # -- folders -------------------------------------------------------------

    def save(self, folder: Path) -> None:
        """Writes config.json and ear.safetensors into `folder` (which must exist)."""
        settings = {"format": FORMAT, **asdict(self.config)}
        (folder / CONFIG).write_text(json.dumps(settings, indent=2) + "\n", encoding="utf-8")
        weights = save({name: value.contiguous() for name, value in self.state_dict().items()})
        (folder / WEIGHTS).write_bytes(weights)


def state_levels(samples: Tensor, states: int) -> Tensor:
    """`ear_stream.levels_of` of samples (N,): levels (states,) in dB re full scale."""
    return torch.from_numpy(levels_of(samples.numpy(), states))


def load_ear(name_or_path: str | os.PathLike[str] = "free") -> Ear:
    """An ear by name or folder; its licence is told in the log.

    Raises EarError for a folder that is missing, damaged or of a later version of this package.
    """
    config, tensors = read_ear(name_or_path)
    ear = Ear(config)
    ear.load_state_dict({name: torch.from_numpy(tensor) for name, tensor in tensors.items()})
    return ear.eval()
