"""Training data: the on-disk form, readers of foreign layouts, synthesis with labels, labels from phones and video.

Readers of foreign layouts, synthesisers, the WORLD vocoder and video are modules of their own, imported where they are
needed: their packages belong to extras.
"""

from .labels import labels_from_phones
from .store import Clip, Corpus, CorpusError, CorpusWriter, Record, Source, write_clip
from .visemes import MouthStyle, loudness_curve, mouth_from_phones

__all__ = [
    "Clip",
    "Corpus",
    "CorpusError",
    "CorpusWriter",
    "MouthStyle",
    "Record",
    "Source",
    "labels_from_phones",
    "loudness_curve",
    "mouth_from_phones",
    "write_clip",
]
