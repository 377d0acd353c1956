"""The network's graphs in ONNX Runtime, with the weights of model.safetensors.

The graph files hold no weights: each names the tensors of model.safetensors that it wants (float32, or eight-bit whole
numbers with a factor for each output, made here when the graphs are loaded). So there is one set of weights, and what
computes them cannot disagree about it. `runtime.export` makes the files.
"""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from emotalk_ros.model.folder_files import read_arrays, read_json, short
from emotalk_ros.model.locations import CheckpointError
from emotalk_ros.runtime.sizes import NetworkSizes

FOLDER = "onnx"
"""Folder of the graphs inside a model folder."""
MANIFEST = "graphs.json"
"""What the graphs were made for, and the tensors that each wants."""
FORMAT = 1
GRAPHS = ("stem", "trunk", "adapters", "decoder")
QUANTISED = ("trunk", "adapters", "decoder")
PRECISIONS = ("float32", "int8")
EIGHT_BIT, FACTORS = ".int8", ".factors"
"""Suffixes of the names of eight-bit weights (inputs, outputs) and of their factors (outputs,)."""
POSITIONS = "trunk.positions"

Array = NDArray[Any]


class RuntimeUnavailable(RuntimeError):
    """ONNX Runtime cannot run this network; the message says why and what helps."""


def graph_path(folder: Path, name: str, precision: str) -> Path:
    """The file of a graph in a model folder."""
    form = ".int8" if precision == "int8" and name in QUANTISED else ""
    return folder / FOLDER / f"{name}{form}.onnx"


def made_for(sizes: NetworkSizes) -> dict[str, Any]:
    """What the manifest says of the network that the graphs were made for."""
    settings: dict[str, Any] = json.loads(json.dumps({"format": FORMAT, **asdict(sizes)}))
    return settings


class Graphs:
    """The four graphs of one network, ready to run.

    Args:
        folder: model folder.
        precision: "float32" or "int8" (linear layers).
        threads: of ONNX Runtime.

    Raises:
        RuntimeUnavailable: no onnxruntime, or no graphs in the folder; the message names the remedy.
        CheckpointError: graphs and network do not belong together.
    """

    def __init__(self, folder: Path, precision: str = "float32", threads: int = 1) -> None:
        if precision not in PRECISIONS:
            raise ValueError(f"precision {precision!r}: use one of {', '.join(PRECISIONS)}")
        try:
            import onnxruntime
        except ImportError as error:
            raise RuntimeUnavailable(
                f"onnxruntime cannot be imported ({error}): pip install onnxruntime, or use model.backend torch"
            ) from error

        self.sizes = NetworkSizes.read(folder)
        wanted = [folder / FOLDER / MANIFEST, *(graph_path(folder, name, precision) for name in GRAPHS)]
        missing = [str(path) for path in wanted if not path.is_file()]
        if missing:
            raise RuntimeUnavailable(
                f"no ONNX graphs of this network: {missing[0]} is not there. `emotalk convert {folder} --onnx` makes "
                "them (it needs torch and `pip install onnx`)"
            )
        if not (folder / "model.safetensors").is_file():
            raise RuntimeUnavailable(f"{folder} keeps its weights in several files; ONNX Runtime reads one")
        manifest = read_json(folder / FOLDER / MANIFEST)
        if manifest.get("made_for") != made_for(self.sizes):
            raise CheckpointError(
                f"the ONNX graphs in {folder / FOLDER} were made for a network of other sizes than its config.json "
                f"says: make them again by `emotalk convert {folder} --onnx`"
            )
        self.weights: dict[str, Array] = read_arrays(folder / "model.safetensors")
        self.precision, self.version = precision, onnxruntime.__version__
        self._kept: list[Any] = []  # the runtime may use the arrays where they lie
        self._cores = threads
        self._eight_bit: dict[str, tuple[Array, Array]] = {}
        paths = {name: graph_path(folder, name, precision) for name in GRAPHS}
        self._sessions = {
            name: self._session(onnxruntime, path, manifest["weights"][path.stem]) for name, path in paths.items()
        }
        self._eight_bit.clear()

    def run(self, name: str, feed: dict[str, Array]) -> list[Array]:
        """The outputs of a graph."""
        outputs: list[Array] = self._sessions[name].run(None, feed)
        return outputs

    def _session(self, onnxruntime: Any, path: Path, names: list[str]) -> Any:
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads, options.inter_op_num_threads = self._cores, 1
        options.log_severity_level = 3
        # Threads that spin while they wait would take the cores from the rest of the process.
        options.add_session_config_entry("session.intra_op.allow_spinning", "0")
        values = [onnxruntime.OrtValue.ortvalue_from_numpy(self._tensor(key)) for key in names]
        options.add_external_initializers(names, values)
        self._kept += values
        try:
            return onnxruntime.InferenceSession(path.read_bytes(), options, providers=["CPUExecutionProvider"])
        except Exception as error:  # of ONNX Runtime, on a damaged graph and on weights of other shapes
            raise CheckpointError(
                f"{path} cannot be loaded ({short(error)}): make it again by `emotalk convert {path.parents[1]} --onnx`"
            ) from error

    def _tensor(self, name: str) -> Array:
        if name == POSITIONS:
            return _sinusoids(self.sizes.trunk_width, self.sizes.cached)
        for suffix, part in ((EIGHT_BIT, 0), (FACTORS, 1)):
            if name.endswith(suffix):
                plain = name.removesuffix(suffix)
                if plain not in self._eight_bit:
                    self._eight_bit[plain] = eight_bit(self.weight(plain))
                return self._eight_bit[plain][part]
        return self.weight(name)

    def weight(self, name: str) -> Array:
        """A tensor of the network, float32. Raises CheckpointError where it is missing."""
        if name not in self.weights:
            raise CheckpointError(f"model.safetensors has no tensor {name}, which the ONNX graphs want")
        return np.ascontiguousarray(self.weights[name], dtype=np.float32)


def eight_bit(weight: Array) -> tuple[Array, Array]:
    """A linear layer's weight (outputs, inputs) as int8 (inputs, outputs) and one factor an output (outputs,)."""
    top = 127 if _exact_products() else 63
    factors = np.maximum(np.abs(weight).max(1), 1e-12) / top
    whole = np.clip(np.rint(weight / factors[:, None]), -top, top).astype(np.int8)
    return np.ascontiguousarray(whole.T), factors.astype(np.float32)


def _exact_products() -> bool:
    """Whether the processor sums products of eight-bit numbers without clipping; older x86 needs one bit less."""
    try:
        text = Path("/proc/cpuinfo").read_text(encoding="utf-8", errors="replace")
    except OSError:
        return False
    return "vnni" in text or "flags" not in text


def _sinusoids(width: int, count: int) -> Array:
    """Whisper's position vectors, (count, width): `model.trunk.sinusoids` without torch."""
    half = width // 2
    frequency = np.exp(np.float32(-np.log(10000.0) / (half - 1)) * np.arange(half, dtype=np.float32))
    angle = np.arange(count, dtype=np.float32)[:, None] * frequency
    return np.ascontiguousarray(np.concatenate([np.sin(angle), np.cos(angle)], 1), dtype=np.float32)
