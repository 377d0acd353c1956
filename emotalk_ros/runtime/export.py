"""The files that ONNX Runtime computes a `StreamingEmoTalk` from: graphs without weights.

`torch.onnx` traces the graphs of `runtime.torch_graphs`. Their weights are those of model.safetensors, so they are
left out and only named; `runtime.graphs` puts them in. For eight bits each linear layer is rewritten to quantise its
input as it comes (`DynamicQuantizeLinear`) and to multiply whole numbers (`MatMulInteger`).
"""

from __future__ import annotations

import io
import json
import logging
import shutil
import tempfile
import warnings
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from emotalk_ros.files import replacing_folder
from emotalk_ros.model import load_model
from emotalk_ros.model.locations import CheckpointError
from emotalk_ros.model.streaming_emotalk import StreamingEmoTalk
from emotalk_ros.runtime.graphs import EIGHT_BIT, FACTORS, FOLDER, MANIFEST, PRECISIONS, QUANTISED, made_for
from emotalk_ros.runtime.network import OnnxNetwork
from emotalk_ros.runtime.sizes import NetworkSizes
from emotalk_ros.runtime.torch_graphs import AdapterGraph, DecoderGraph, StemGraph, TrunkGraph

Samples = NDArray[np.float32]

_OPSET = 17
_TRIAL_SECONDS = 9.0
_INSIDE = "model."
_STAYS = ("trunk.spectra.filters",)
"""Constants that no checkpoint has: they stay in the graph."""


TOLERANCE = 1e-5
"""Largest difference of a coefficient to torch's that graphs may make."""


@dataclass(frozen=True)
class Made:
    """The files, and the largest difference of a coefficient to torch's over a stream of so many seconds."""

    files: list[Path]
    seconds: float
    difference: float
    difference_int8: float


def make_graphs(folder: Path) -> Made:
    """Makes the graphs of the network in `folder` and tries them on a stream before they take their place there.

    Raises:
        ModuleNotFoundError: onnx or onnxruntime is missing.
        CheckpointError: the network is of another kind, or the graphs do not compute what it does.
    """
    import onnxruntime  # noqa: F401 (missing? then before the work)

    model = load_model(folder)
    if not isinstance(model, StreamingEmoTalk):
        raise CheckpointError(f"{folder} holds {type(model).__name__}: only the streaming network has ONNX graphs")
    with tempfile.TemporaryDirectory() as scratch:
        trial = Path(scratch) / "model"
        trial.mkdir()
        for name in ("config.json", "model.safetensors"):
            (trial / name).symlink_to((folder / name).resolve())
        export_onnx(model, trial)
        audio = _trial_sound(_TRIAL_SECONDS)
        wanted = model.predict(audio)
        plain, coarse = (_difference(OnnxNetwork(trial, precision), audio, wanted) for precision in PRECISIONS)
        if not plain <= TOLERANCE:
            raise CheckpointError(f"the graphs of {folder} differ by {plain:.1e} from torch, allowed: {TOLERANCE:.0e}")
        with replacing_folder(folder / FOLDER) as new:
            for path in sorted((trial / FOLDER).iterdir()):
                shutil.copyfile(path, new / path.name)
    return Made(sorted((folder / FOLDER).iterdir()), _TRIAL_SECONDS, plain, coarse)


def _difference(network: OnnxNetwork, audio: Samples, wanted: Samples) -> float:
    """Largest difference to the coefficients `wanted`, of a stream that comes in pieces of 0.1 s."""
    state = network.new_state()
    padded = np.pad(audio, (0, network.config.lookahead_samples))
    pieces = [padded[at : at + 1600] for at in range(0, len(padded), 1600)]
    made = np.concatenate([network.hear([piece], [state], [{}])[0].coefficients for piece in pieces])
    count = min(len(made), len(wanted))
    return float(np.abs(made[:count] - wanted[:count]).max())


def _trial_sound(seconds: float) -> Samples:
    """Syllables of a buzzing voice with noise, and pauses: longer than two segments of the trunk."""
    time = np.arange(round(16000 * seconds)) / 16000
    loud = np.clip(np.sin(2 * np.pi * 2.3 * time), 0, 1) * (np.sin(2 * np.pi * time / 3.1) > -0.7)
    voice = np.sign(np.sin(2 * np.pi * (140 + 30 * np.sin(2 * np.pi * 0.7 * time)) * time))
    noise = np.random.default_rng(0).standard_normal(len(time))
    return (0.1 * loud * (voice + 0.3 * noise)).astype(np.float32)


def export_onnx(model: StreamingEmoTalk, folder: Path) -> list[Path]:
    """Writes the graphs of `model` into `folder`/onnx, all or none; returns the files.

    Raises ModuleNotFoundError where the package onnx is missing.
    """
    import onnx

    sizes = NetworkSizes.of(model.config.to_dict())
    model = model.eval()
    weights: dict[str, list[str]] = {}
    target = folder / FOLDER
    with replacing_folder(target) as new:
        for name, graph, inputs, names, dynamic in _plans(model, sizes):
            made = onnx.load_from_string(_traced(graph, inputs, names, dynamic))
            forms = {name: made}
            if name in QUANTISED:
                forms[f"{name}.int8"] = eight_bit_graph(made)
            for stem, form in forms.items():
                weights[stem] = _leave_out_weights(form)
                (new / f"{stem}.onnx").write_bytes(form.SerializeToString())
        manifest = {"made_for": made_for(sizes), "weights": weights}
        (new / MANIFEST).write_text(json.dumps(manifest, indent=1) + "\n", encoding="utf-8")
    return sorted(target.iterdir())


def _plans(model: StreamingEmoTalk, sizes: NetworkSizes) -> list[tuple[str, nn.Module, Any, Any, Any]]:
    """Name, graph, example inputs, names of inputs and outputs, and their axes that vary."""
    c, rights = sizes, sizes.trunk_rights
    layers, width, rows, new = len(rights), sizes.trunk_width, 2, 5
    pair = [f"{kind}{k}" for k in range(layers) for kind in ("keys", "values")]
    lower = [f"lower{k}" for k in range(layers - 1)]
    plans: list[tuple[str, nn.Module, Any, Any, Any]] = []
    stem_inputs = (torch.rand(2, 2 * new + 3, 201), torch.tensor([0, 4]))
    axes: dict[str, dict[int, str]] = {"power": {0: "b", 1: "k"}, "first": {0: "b"}, "stem": {0: "b", 1: "n"}}
    plans.append(("stem", StemGraph(model), stem_inputs, (["power", "first"], ["stem"]), axes))

    history = [torch.zeros(rows, sum(rights[k + 1 :]), width) for k in range(layers - 1)]
    caches = [torch.zeros(rows, c.trunk_heads, c.cached, width // c.trunk_heads) for _ in pair]
    inputs, outputs = ["place", "stem", *lower, *pair], [f"layer{k}" for k in range(layers)]
    fresh = [f"new_{name}" for name in pair]
    axes = {name: {0: "r"} for name in (*inputs, *outputs, *fresh)}
    axes["stem"][1] = "s"
    for name in outputs:
        axes[name][1] = "n"
    for name in fresh:
        axes[name][2] = "n"
    example = (torch.tensor([0, 150]), torch.randn(rows, c.ahead + new, width), *history, *caches)
    plans.append(("trunk", TrunkGraph(model), example, (inputs, [*outputs, *fresh]), axes))

    features = torch.randn(rows, new, c.levels, width)
    axes = {"features": {0: "b", 1: "n"}, "read": {0: "b", 1: "n"}}
    plans.append(("adapters", AdapterGraph(model), (features,), (["features"], ["read"]), axes))

    widths = [c.decoder_dim] * c.decoder_layers + [c.emotion_dim]
    pair = [f"{kind}{k}" for k in range(len(widths)) for kind in ("keys", "values")]
    caches = [torch.zeros(rows, c.decoder_heads, c.decoder_reach, w // c.decoder_heads) for w in widths for _ in (0, 1)]
    inputs = ["content", "summed", "given", "blend", "person", "level", "known"]
    outputs = ["speech", "expression", "logits", "heard"]
    kept = [f"kept_{name}" for name in pair]
    axes = {name: {0: "b"} for name in (*inputs, *pair, *outputs, *kept)}
    for name in ("content", "summed", *outputs):
        axes[name][1] = "t"
    example = (
        torch.randn(rows, 3, c.content_dim),
        torch.randn(rows, 3, 2 * c.emotion_channels),
        torch.randn(rows, c.emotion_dim),
        torch.rand(rows),
        torch.rand(rows, c.num_persons),
        torch.rand(rows),
        torch.tensor([0, 5]),
        *caches,
    )
    plans.append(("decoder", DecoderGraph(model), example, ([*inputs, *pair], [*outputs, *kept]), axes))
    return plans


def _traced(graph: nn.Module, inputs: tuple[Tensor, ...], names: tuple[list[str], list[str]], axes: Any) -> bytes:
    held: Any = io.BytesIO()
    quiet = logging.getLogger("torch.onnx")
    level = quiet.level
    quiet.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings(), torch.no_grad():
            warnings.simplefilter("ignore")  # of the tracer, about shapes that are constant
            # The tracer: the other exporter gives weights names of its own, here they must stay the checkpoint's.
            torch.onnx.export(
                graph.eval(),
                inputs,
                held,
                dynamo=False,
                opset_version=_OPSET,
                input_names=names[0],
                output_names=names[1],
                dynamic_axes=axes,
                do_constant_folding=False,
            )
    finally:
        quiet.setLevel(level)
    made: bytes = held.getvalue()
    return made


def eight_bit_graph(made: Any) -> Any:
    """The same graph with linear layers in whole numbers; their weights are named `<name>.int8`, `<name>.factors`."""
    import onnx

    graph = onnx.ModelProto()
    graph.CopyFrom(made)
    nodes = list(graph.graph.node)
    weights = {tensor.name for tensor in graph.graph.initializer if tensor.name.startswith(_INSIDE)}
    turned = {
        node.output[0]: node.input[0] for node in nodes if node.op_type == "Transpose" and node.input[0] in weights
    }
    tensors = {tensor.name: tensor for tensor in graph.graph.initializer}
    result: list[Any] = []
    made_already: set[str] = set()
    quantised: dict[str, str] = {}
    for node in nodes:
        if node.op_type != "MatMul" or node.input[1] not in turned:
            result.append(node)
            continue
        name, values, out = turned[node.input[1]], node.input[0], node.output[0]
        if values not in quantised:
            prefix = f"{values}.quantised"
            quantised[values] = prefix
            parts = [prefix, f"{prefix}.scale", f"{prefix}.zero"]
            result.append(onnx.helper.make_node("DynamicQuantizeLinear", [values], parts))
        prefix = quantised[values]
        if name not in made_already:
            made_already.add(name)
            rows, columns = tensors[name].dims
            for suffix, kind, shape in (
                (EIGHT_BIT, onnx.TensorProto.INT8, [columns, rows]),
                (FACTORS, onnx.TensorProto.FLOAT, [rows]),
            ):
                graph.graph.initializer.append(onnx.TensorProto(name=name + suffix, data_type=kind, dims=shape))
        result += [
            onnx.helper.make_node(
                "MatMulInteger",
                [prefix, name + EIGHT_BIT, f"{prefix}.zero"],
                [f"{out}.whole"],
                name=f"{node.name}.int8",
            ),
            onnx.helper.make_node("Cast", [f"{out}.whole"], [f"{out}.cast"], to=onnx.TensorProto.FLOAT),
            onnx.helper.make_node("Mul", [f"{prefix}.scale", name + FACTORS], [f"{out}.factor"]),
            onnx.helper.make_node("Mul", [f"{out}.cast", f"{out}.factor"], [out]),
        ]
    used = {name for node in result for name in node.input} | {output.name for output in graph.graph.output}
    result = [node for node in result if node.op_type != "Transpose" or node.output[0] in used]
    used = {name for node in result for name in node.input}
    kept = [tensor for tensor in graph.graph.initializer if tensor.name in used]
    new = onnx.helper.make_graph(result, graph.graph.name, graph.graph.input, graph.graph.output, kept)
    return onnx.helper.make_model(new, opset_imports=graph.opset_import, ir_version=graph.ir_version)


def _leave_out_weights(graph: Any) -> list[str]:
    """Takes the checkpoint's tensors out of a graph, under the checkpoint's names; returns those."""
    import onnx

    names: dict[str, str] = {}
    for tensor in graph.graph.initializer:
        if not tensor.name.startswith(_INSIDE) or tensor.name.removeprefix(_INSIDE) in _STAYS:
            continue
        names[tensor.name] = tensor.name.removeprefix(_INSIDE)
        tensor.name = names[tensor.name]
        tensor.ClearField("raw_data")
        tensor.data_location = onnx.TensorProto.EXTERNAL
        del tensor.external_data[:]
        tensor.external_data.add(key="location", value="model.safetensors")
    for node in graph.graph.node:
        for k, name in enumerate(node.input):
            node.input[k] = names.get(name, name)
    return sorted(names.values())
