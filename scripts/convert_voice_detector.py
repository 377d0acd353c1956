#!/usr/bin/env python3
"""Makes models/voice-detector/silero_vad.safetensors again from the ONNX file of the silero-vad package.

Needs `pip install onnx` and `pip download --no-deps silero-vad==6.2.3`. Usage: convert_voice_detector.py WHEEL [OUTPUT]
"""

import hashlib
import sys
import zipfile
from pathlib import Path

import numpy as np
import onnx
from onnx import numpy_helper
from safetensors.numpy import save_file

MEMBER = "silero_vad/data/silero_vad_16k_op15.onnx"


def tensors(graph):
    """Name and value of every constant, those of branches too."""
    for initializer in graph.initializer:
        yield initializer.name, numpy_helper.to_array(initializer)
    for node in graph.node:
        for attribute in node.attribute:
            if attribute.type == onnx.AttributeProto.TENSOR:
                yield node.output[0], numpy_helper.to_array(attribute.t)
            elif attribute.type == onnx.AttributeProto.GRAPH:
                yield from tensors(attribute.g)


def main(wheel: Path, output: Path) -> None:
    data = zipfile.ZipFile(wheel).read(MEMBER)
    found = dict(tensors(onnx.load_from_string(data).graph))
    kept = {
        f"conv{k + 1}.{part}": found[f"model.encoder.{k}.reparam_conv.{part}"]
        for k in range(4)
        for part in ("weight", "bias")
    }
    cell = {part: found[f"model.decoder.rnn.{part}"] for part in ("weight_ih", "weight_hh", "bias_ih", "bias_hh")}
    kept["lstm.weight"] = np.concatenate([cell["weight_ih"], cell["weight_hh"]], axis=1)
    kept["lstm.bias"] = cell["bias_ih"] + cell["bias_hh"]
    kept["output.weight"] = found["model.decoder.decoder.2.weight"].reshape(-1)
    kept["output.bias"] = found["model.decoder.decoder.2.bias"].reshape(-1)
    kept = {name: np.ascontiguousarray(value, dtype=np.float32) for name, value in kept.items()}
    save_file(kept, output, metadata={"source": f"{wheel.name}: {MEMBER}", "sha256": hashlib.sha256(data).hexdigest()})
    print(f"{output}: {sum(v.size for v in kept.values())} numbers, {output.stat().st_size} bytes")


if __name__ == "__main__":
    default = Path(__file__).resolve().parents[1] / "models" / "voice-detector" / "silero_vad.safetensors"
    main(Path(sys.argv[1]), Path(sys.argv[2]) if len(sys.argv) > 2 else default)
