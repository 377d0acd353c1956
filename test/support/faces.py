"""Faces for the tests of the stages."""

import numpy as np

from emotalk_ros.face.names import INDEX
from emotalk_ros.motion import FaceFrame, FrameContext

JAW, CLOSE, BROW = INDEX["jawOpen"], INDEX["mouthClose"], INDEX["browInnerUp"]


def face(**named):
    """(52,) with these coefficients, the rest 0."""
    vector = np.zeros(52, np.float32)
    for name, value in named.items():
        vector[INDEX[name]] = value
    return vector


def frame(coefficients, index=0, activity=1.0, loudness=0.0):
    return FaceFrame(index, round(index * 1e9 / 30), coefficients, activity, np.zeros(0, np.float32), loudness)


def play(stage, faces, activity=None, loudness=None, fps=30.0, left_out=()):
    """(frames, 52) that a stage makes of faces (n, 52); frames in `left_out` never come."""
    made, before = [], None
    for k, coefficients in enumerate(faces):
        if k in left_out:
            continue
        given = frame(
            np.asarray(coefficients, np.float32),
            k,
            1.0 if activity is None else float(activity[k]),
            0.0 if loudness is None else float(loudness[k]),
        )
        kept = given.coefficients.copy()
        made.append(stage.step(given, FrameContext(fps, 1 if before is None else k - before)).coefficients)
        np.testing.assert_array_equal(given.coefficients, kept)  # no stage changes what it was given
        before = k
    return np.stack(made)
