"""The voice detector's network: Silero VAD 6 at 16 kHz (MIT), run by numpy.

Per block of 512 samples (32 ms) with the 64 before it: amplitudes of four Hann-windowed spectra, four convolutions, an
LSTM cell of 128, one sigmoid. Weights are those of the ONNX file in the silero-vad package; the probabilities equal
ONNX Runtime's to 2e-6 (a test holds them), without its size and its threads. Every block is computed by itself, in the
same shapes, so the result does not depend on how the sound was cut.
"""

from __future__ import annotations

from functools import lru_cache
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from safetensors import SafetensorError
from safetensors.numpy import load_file

from emotalk_ros.audio.pcm import Samples
from emotalk_ros.share import candidate_paths

VOICE_BLOCK = 512
"""Samples between two probabilities: 32 ms."""
FOLDER = Path("models") / "voice-detector"
WEIGHTS = "silero_vad.safetensors"

Array = NDArray[np.float32]

_BEFORE = 64  # samples of the block before that are heard again
_WINDOW = 256
_STARTS = (0, 128, 256, 384)
_MIRRORED = 64  # samples behind the block, a mirror image of its end
_STATE = 128
_SHAPES = {
    "conv1.weight": (128, 129, 3),
    "conv1.bias": (128,),
    "conv2.weight": (64, 128, 3),
    "conv2.bias": (64,),
    "conv3.weight": (64, 64, 3),
    "conv3.bias": (64,),
    "conv4.weight": (128, 64, 3),
    "conv4.bias": (128,),
    "lstm.weight": (512, 256),
    "lstm.bias": (512,),
    "output.weight": (128,),
    "output.bias": (1,),
}


class VoiceModelError(RuntimeError):
    """The voice detector's weights are missing or damaged; the text names the file and the remedy."""


class SileroNetwork:
    """The weights; shared by all voices, never changed. Raises VoiceModelError for a file that is not them."""

    def __init__(self, path: Path) -> None:
        try:
            weights = load_file(path)
        except (OSError, SafetensorError, ValueError) as error:
            raise VoiceModelError(f"the voice detector's weights in {path} cannot be read: {error}") from error
        for name, shape in _SHAPES.items():
            found = weights.get(name)
            if found is None or found.shape != shape or not np.isfinite(found).all():
                told = "missing" if found is None else f"{found.shape}, or not finite"
                raise VoiceModelError(f"{path} holds another network: {name} is {told}, expected {shape}")
        self._window = (0.5 - 0.5 * np.cos(2 * np.pi * np.arange(_WINDOW) / _WINDOW)).astype(np.float32)
        self._layers = [_rows(weights, f"conv{k}") for k in (1, 2, 3)]
        # The last convolution runs over one column, so its outer taps only ever meet padding.
        self._last = np.ascontiguousarray(weights["conv4.weight"][:, :, 1].T), weights["conv4.bias"]
        self._cell = np.ascontiguousarray(weights["lstm.weight"].T), weights["lstm.bias"]
        self._output = weights["output.weight"], float(weights["output.bias"][0])

    def probability(self, samples: Samples, state: Array) -> float:
        """Probability that a voice is heard in a block.

        Args:
            samples: (576,): 64 samples before the block, and the block.
            state: (2, 128), zeros at the beginning of a stream; changed in place.
        """
        mirrored = np.concatenate([samples, samples[-2 : -2 - _MIRRORED : -1]])
        frames = np.stack([mirrored[at : at + _WINDOW] for at in _STARTS]) * self._window
        columns = np.abs(np.fft.rfft(frames, axis=1)).astype(np.float32)  # (4, 129)
        for stride, (weight, bias) in zip((1, 2, 2), self._layers, strict=True):
            padded = np.zeros((len(columns) + 2, columns.shape[1]), dtype=np.float32)
            padded[1:-1] = columns
            taps = np.stack([padded[k : k + 3].ravel() for k in range(0, len(columns), stride)])
            columns = np.maximum(taps @ weight + bias, 0)
        features = np.maximum(columns[0] @ self._last[0] + self._last[1], 0)
        hidden, memory = state
        gates = np.concatenate([features, hidden]) @ self._cell[0] + self._cell[1]
        take, keep, new, show = gates.reshape(4, _STATE)
        state[1] = _sigmoid(keep) * memory + _sigmoid(take) * np.tanh(new)
        state[0] = _sigmoid(show) * np.tanh(state[1])
        return float(_sigmoid(np.maximum(state[0], 0) @ self._output[0] + self._output[1]))


class VoiceProbability:
    """Feed samples, get one probability for every completed block of 32 ms. Causal, stateful, deterministic.

    Raises VoiceModelError where the weights cannot be had.
    """

    def __init__(self) -> None:
        self._network = load_network()
        self.reset()

    def reset(self) -> None:
        """Forget everything: the next sample is the first of a stream."""
        self._kept: Samples = np.zeros(_BEFORE, dtype=np.float32)
        self._state = np.zeros((2, _STATE), dtype=np.float32)

    def push(self, samples: Samples) -> list[float]:
        """Probability of each block completed by `samples` (n,)."""
        joined = np.concatenate([self._kept, samples])
        count = (len(joined) - _BEFORE) // VOICE_BLOCK
        self._kept = joined[count * VOICE_BLOCK :].copy()
        starts = range(0, count * VOICE_BLOCK, VOICE_BLOCK)
        return [self._network.probability(joined[at : at + _BEFORE + VOICE_BLOCK], self._state) for at in starts]


def load_network() -> SileroNetwork:
    """The weights that come along. Raises VoiceModelError where they are missing or damaged."""
    places = [folder / WEIGHTS for folder in candidate_paths(FOLDER)]
    for path in places:
        if path.is_file():
            return _loaded(path)
    raise VoiceModelError(f"the voice detector's weights are missing ({places[0]}): install the package again")


@lru_cache(maxsize=2)
def _loaded(path: Path) -> SileroNetwork:
    return SileroNetwork(path)


def _rows(weights: dict[str, Array], name: str) -> tuple[Array, Array]:
    """A convolution over three columns as one matrix, (3 * inputs, outputs), and its bias."""
    weight = weights[f"{name}.weight"]
    return np.ascontiguousarray(weight.transpose(2, 1, 0).reshape(-1, len(weight))), weights[f"{name}.bias"]


def _sigmoid(values: Array) -> Array:
    return 0.5 * (1 + np.tanh(0.5 * values))
