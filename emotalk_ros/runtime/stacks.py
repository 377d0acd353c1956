"""The transformers of a network with full attention (the paper's) in ONNX Runtime; the rest of it stays with torch.

94 to 98 % of such a network's hop are its two stacks of transformer layers. Each becomes one graph, written here node
by node: a trace would hold all of its weights several times. The runtime packs float32 weights once for the processor,
where torch packs them in each product; or it computes the linear layers in eight-bit whole numbers, with one factor for
each output of a weight and one for each input, found as it comes.
"""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from emotalk_ros.model.emotalk import EmoTalk
from emotalk_ros.model.encoder import SpeechEncoder
from emotalk_ros.requirements import install_command
from emotalk_ros.runtime.graphs import PRECISIONS, RuntimeUnavailable, eight_bit

_OPSET, _IR = 20, 9
_PAGE = 4096
"""Weights begin at multiples of this many bytes, so that the runtime can map them."""
_FILE, _WEIGHTS = "stack.onnx", "weights.bin"


def compute_stacks(network: EmoTalk, precision: str = "float32", threads: int = 1) -> None:
    """Let ONNX Runtime compute the transformer layers of `network`'s encoders from now on. The network can no longer be
    trained or saved: its layers are given up, so that there is one set of weights.

    Args:
        network: with full attention, float32, on the processor.
        precision: "float32", equal to torch's within rounding, or "int8".
        threads: of ONNX Runtime.

    Raises:
        ValueError: another precision.
        RuntimeUnavailable: onnxruntime or onnx is missing, or the network is of another kind.
    """
    if precision not in PRECISIONS:
        raise ValueError(f"precision {precision!r}: use one of {', '.join(PRECISIONS)}")
    if network.config.attention != "full":
        raise RuntimeUnavailable("ONNX Runtime computes the transformers of networks with full attention: use torch")
    if network.dtype is not torch.float32 or network.device.type != "cpu":
        raise RuntimeUnavailable(f"ONNX Runtime takes float32 weights on cpu, not {network.dtype} on {network.device}")
    encoders = [network.content_encoder]
    if network.config.disentangle:
        encoders.append(network.emotion_encoder)
    for encoder in encoders:
        encoder.stack = Stack(encoder, precision, threads)
        encoder.encoder.layers = nn.ModuleList()


class Stack:
    """The layers of one encoder: what goes into them (B, T, H) to states (B, T, H)."""

    def __init__(self, encoder: SpeechEncoder, precision: str, threads: int) -> None:
        try:
            import onnx  # noqa: F401 (the graph is made with it)
            import onnxruntime
        except ImportError as error:
            raise RuntimeUnavailable(
                f"{error.name} cannot be imported: {install_command('onnx,convert')}, or use backend torch"
            ) from error
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads, options.inter_op_num_threads = threads, 1
        options.log_severity_level = 3
        # Threads that spin while they wait would take the cores from the rest of the process.
        options.add_session_config_entry("session.intra_op.allow_spinning", "0")
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / _FILE
            with (path.parent / _WEIGHTS).open("wb") as file:
                graph = _Graph(file, precision == "int8")
                path.write_bytes(graph.stack(encoder))
            self._session = onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])

    def __call__(self, hidden: Tensor) -> Tensor:
        """What the layers make of their input."""
        (states,) = self._session.run(None, {"hidden": hidden.float().numpy()})
        return torch.from_numpy(states).to(hidden.dtype)


class _Graph:
    """Nodes and weights of a graph; weights go into a file, which the runtime reads where it lies."""

    def __init__(self, file: Any, eight_bit: bool) -> None:
        self._file, self._eight_bit = file, eight_bit
        self._nodes: list[Any] = []
        self._tensors: list[Any] = []

    def stack(self, encoder: SpeechEncoder) -> bytes:
        """The graph of an encoder's stack."""
        import onnx
        from onnx import helper

        config, parts = encoder.config, encoder.encoder
        if config.hidden_act != "gelu":
            raise RuntimeUnavailable(f"no graph of layers with {config.hidden_act}: use torch")
        heads, stable = config.num_attention_heads, config.do_stable_layer_norm
        hidden = "hidden"
        if not stable:
            hidden = self._norm(hidden, parts.layer_norm)
        for layer in parts.layers:
            first, last = layer.layer_norm, layer.final_layer_norm
            if stable:
                hidden = self._op("Add", hidden, self._attention(self._norm(hidden, first), layer.attention, heads))
                hidden = self._op("Add", hidden, self._feed_forward(self._norm(hidden, last), layer.feed_forward))
            else:
                mixed = self._op("Add", hidden, self._attention(hidden, layer.attention, heads))
                hidden = self._norm(mixed, first)
                hidden = self._norm(self._op("Add", hidden, self._feed_forward(hidden, layer.feed_forward)), last)
        if stable:
            hidden = self._norm(hidden, parts.layer_norm)
        shape: list[str | int | None] = ["batch", "frames", config.hidden_size]
        inputs = [helper.make_tensor_value_info("hidden", onnx.TensorProto.FLOAT, shape)]
        outputs = [helper.make_tensor_value_info(hidden, onnx.TensorProto.FLOAT, shape)]
        graph = helper.make_graph(self._nodes, "stack", inputs, outputs, self._tensors)
        model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", _OPSET)], ir_version=_IR)
        made: bytes = model.SerializeToString()
        return made

    def _attention(self, hidden: str, attention: Any, heads: int) -> str:
        projections = (attention.q_proj, attention.k_proj, attention.v_proj)
        weight = torch.cat([p.weight for p in projections])
        bias = torch.cat([p.bias for p in projections])
        width = weight.shape[1]
        scales = torch.ones(len(weight))
        scales[:width] = attention.scaling  # of the queries
        mixed = self._linear(hidden, weight * scales[:, None], bias * scales)
        split = self._tensor(np.array([width] * 3, np.int64))
        apart = self._tensor(np.array([0, 0, heads, width // heads], np.int64))
        query, key, value = (self._op("Reshape", part, apart) for part in self._ops("Split", 3, mixed, split, axis=2))
        query, value = (self._op("Transpose", part, perm=[0, 2, 1, 3]) for part in (query, value))
        key = self._op("Transpose", key, perm=[0, 2, 3, 1])
        weights = self._op("Softmax", self._op("MatMul", query, key), axis=-1)
        seen = self._op("Transpose", self._op("MatMul", weights, value), perm=[0, 2, 1, 3])
        joined = self._op("Reshape", seen, self._tensor(np.array([0, 0, width], np.int64)))
        return self._linear(joined, attention.out_proj.weight, attention.out_proj.bias)

    def _feed_forward(self, hidden: str, layers: Any) -> str:
        inner, outer = layers.intermediate_dense, layers.output_dense
        return self._linear(self._op("Gelu", self._linear(hidden, inner.weight, inner.bias)), outer.weight, outer.bias)

    def _norm(self, hidden: str, norm: nn.LayerNorm) -> str:
        weight, bias = self._tensor(norm.weight), self._tensor(norm.bias)
        return self._op("LayerNormalization", hidden, weight, bias, epsilon=norm.eps)

    def _linear(self, hidden: str, weight: Tensor, bias: Tensor) -> str:
        if not self._eight_bit:
            product = self._op("MatMul", hidden, self._tensor(weight.detach().T))
            return self._op("Add", product, self._tensor(bias))
        whole, factors = eight_bit(weight.detach().numpy())
        quantised, scale, zero = self._ops("DynamicQuantizeLinear", 3, hidden)
        product = self._op("Cast", self._op("MatMulInteger", quantised, self._tensor(whole), zero), to=1)
        product = self._op("Mul", product, self._op("Mul", scale, self._tensor(factors)))
        return self._op("Add", product, self._tensor(bias))

    def _op(self, kind: str, *inputs: str, **settings: Any) -> str:
        return self._ops(kind, 1, *inputs, **settings)[0]

    def _ops(self, kind: str, count: int, *inputs: str, **settings: Any) -> list[str]:
        from onnx import helper

        outputs = [f"{kind}{len(self._nodes)}.{k}" for k in range(count)]
        self._nodes.append(helper.make_node(kind, list(inputs), outputs, **settings))
        return outputs

    def _tensor(self, values: Tensor | NDArray[Any]) -> str:
        import onnx

        array = np.ascontiguousarray(values.detach().numpy() if isinstance(values, Tensor) else values)
        name = f"weight{len(self._tensors)}"
        if array.dtype == np.int64:  # shapes: the runtime wants to see them
            self._tensors.append(onnx.numpy_helper.from_array(array, name))
            return name
        kind = onnx.helper.np_dtype_to_tensor_dtype(array.dtype)
        tensor = onnx.TensorProto(name=name, data_type=kind, dims=array.shape)
        tensor.data_location = onnx.TensorProto.EXTERNAL
        self._file.write(bytes(-self._file.tell() % _PAGE))
        place = {"location": _WEIGHTS, "offset": self._file.tell(), "length": array.nbytes}
        for key, value in place.items():
            tensor.external_data.add(key=key, value=str(value))
        self._file.write(array.tobytes())
        self._tensors.append(tensor)
        return name
