"""A whole recording through the engine: the same frames as live, with long hops where nobody waits."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

import numpy as np

from emotalk_ros.audio.pcm import Samples
from emotalk_ros.motion.finish import Finisher
from emotalk_ros.streaming.engine import Controls, Engine, FaceFrame, FaceModel
from emotalk_ros.streaming.schedule import StreamSettings

OFFLINE_CAUSAL = StreamSettings(hop=20.0, context=10.0)
OFFLINE_FULL = StreamSettings(hop=10.0, context=10.0, lookahead=2.0)


def offline_settings(model: FaceModel, fps: float | None = None) -> StreamSettings:
    """Long hops and a long context: clips up to one hop are one pass of the model, longer ones need no more memory."""
    causal = getattr(model.config, "lookahead_samples", None) is not None
    best = OFFLINE_CAUSAL if causal else OFFLINE_FULL
    return StreamSettings(best.hop, best.context, best.lookahead, fps)


def animate(
    model: FaceModel,
    audio: Samples | Iterable[Samples],
    controls: Controls | None = None,
    finisher: Finisher | None = None,
    fps: float | None = None,
    settings: StreamSettings | None = None,
) -> Iterator[FaceFrame]:
    """Frames of a recording, ceil(duration * fps) of them, as they are ready.

    Args:
        model: see `Engine`.
        audio: mono 16 kHz samples (n,), or pieces of them.
        controls: style and emotion.
        finisher: at the frame rate that comes out; None leaves the coefficients as they are.
        fps: frames per second; None: the model's.
        settings: another geometry, for instance the live one; `fps` is then ignored.
    """
    engine = Engine(model, settings or offline_settings(model, fps), controls, finisher)
    for piece in [audio] if isinstance(audio, np.ndarray) else audio:
        yield from engine.feed(piece)
    yield from engine.flush()
