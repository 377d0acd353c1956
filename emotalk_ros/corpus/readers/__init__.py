"""Readers of foreign layouts: each finds clips, loads them one by one and names what it had to leave out."""

from emotalk_ros.corpus.readers.aligned import LAYOUTS, read_aligned
from emotalk_ros.corpus.readers.base import Item, Problem, Summary, prepare
from emotalk_ros.corpus.readers.facegood import read_facegood
from emotalk_ros.corpus.readers.livelink import read_livelink, read_livelink_csv
from emotalk_ros.corpus.readers.recorded import RavdessName, read_etf, read_pairs, read_ravdess

__all__ = [
    "LAYOUTS",
    "Item",
    "Problem",
    "RavdessName",
    "Summary",
    "prepare",
    "read_aligned",
    "read_etf",
    "read_facegood",
    "read_livelink",
    "read_livelink_csv",
    "read_pairs",
    "read_ravdess",
]
