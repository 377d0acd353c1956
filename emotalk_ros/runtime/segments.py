"""The trunk's segments of all voices: rows of buffers that one graph works on, whatever place each voice is at.

A voice has two rows: its segments of even and of odd number take turns. A segment looks `ahead` features beyond its
end, when the next one of the same row has begun already; that one starts late and catches up, since its first features
only fill its keys and values. So two rows do, and both go through the graph in one batch.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from emotalk_ros.runtime.graphs import Graphs
from emotalk_ros.runtime.sizes import NetworkSizes

Array = NDArray[np.float32]

_MOST = 64
"""Features of one row that go through the graph at a time."""
_CATCH_UP = 2
"""Features more than the leading row that a row behind may take."""


@dataclass
class Row:
    """One segment under way in one row of the buffers."""

    number: int
    """Of the segment in its stream."""
    place: int = 0
    """Inputs of the segment that went through the layers."""

    def start(self, sizes: NetworkSizes) -> int:
        """The stream's feature at the segment's position 0."""
        return self.number * sizes.trunk_segment

    def end(self, sizes: NetworkSizes) -> int:
        """The first of the stream's features that the segment does not hear."""
        return self.start(sizes) + sizes.cached


@dataclass
class VoiceSegments:
    """The trunk's state of one voice."""

    rows: tuple[int, int]
    """Its rows of the buffers."""
    width: int
    segments: list[Row] = field(default_factory=lambda: [Row(0), Row(1)])
    stem: Array = field(init=False)
    """Inputs that a row still needs, (n, width)."""
    stem_first: int = 0
    given: int = 0
    """Features that were given."""

    def __post_init__(self) -> None:
        self.stem = np.zeros((0, self.width), np.float32)

    @property
    def heard(self) -> int:
        """Inputs that have come."""
        return self.stem_first + len(self.stem)


class SegmentPool:
    """Keys, values and what waits for look-ahead, of the rows of all voices."""

    def __init__(self, graphs: Graphs) -> None:
        self.graphs, self.sizes = graphs, graphs.sizes
        c = self.sizes
        head = (c.trunk_heads, c.cached, c.trunk_width // c.trunk_heads)
        self._shapes: dict[str, tuple[int, ...]] = {"stem": (c.ahead, c.trunk_width)}
        for k in range(len(c.trunk_rights)):
            if k + 1 < len(c.trunk_rights):
                self._shapes[f"lower{k}"] = (sum(c.trunk_rights[k + 1 :]), c.trunk_width)
            self._shapes |= {f"keys{k}": head, f"values{k}": head}
        self._buffers = {name: np.zeros((0, *shape), np.float32) for name, shape in self._shapes.items()}
        self._free: list[int] = []
        self._count = 0

    @property
    def bytes_of_voice(self) -> int:
        """Memory that a voice's rows take."""
        return 2 * 4 * sum(int(np.prod(shape)) for shape in self._shapes.values())

    def take(self) -> VoiceSegments:
        """Rows for a voice that begins."""
        if not self._free:
            before = self._count
            self._count = max(1, 2 * before)
            for name, old in self._buffers.items():
                self._buffers[name] = np.zeros((2 * self._count, *old.shape[1:]), np.float32)
                self._buffers[name][: len(old)] = old
            self._free = list(range(self._count - 1, before - 1, -1))
        pair = self._free.pop()
        for buffer in self._buffers.values():
            buffer[2 * pair : 2 * pair + 2] = (
                0.0  # what another voice left could be infinite, and 0 times that is not 0
            )
        return VoiceSegments((2 * pair, 2 * pair + 1), self.sizes.trunk_width)

    def give_back(self, rows: tuple[int, int]) -> None:
        """The voice that had these rows is gone."""
        self._free.append(rows[0] // 2)
        self._free.sort(reverse=True)

    def step(self, voices: Sequence[VoiceSegments], stems: Sequence[Array]) -> list[Array]:
        """The next inputs (n, width) of each voice to the features (m, levels, width) that they complete."""
        given: list[list[Array]] = [[] for _ in voices]
        for voice, stem in zip(voices, stems, strict=True):
            voice.stem = np.concatenate([voice.stem, stem])
        while True:
            taken = self._share_out(voices)
            if not taken:
                break
            for at, features in self._run(voices, taken):
                given[at].append(features)
        for voice in voices:
            self._forget(voice)
        nothing = np.zeros((0, self.sizes.levels, self.sizes.trunk_width), np.float32)
        return [np.concatenate(parts) if parts else nothing for parts in given]

    def _share_out(self, voices: Sequence[VoiceSegments]) -> dict[tuple[int, int], int]:
        """How many inputs each (voice, segment) takes next; none if no voice can give a feature."""
        c = self.sizes
        waiting: dict[tuple[int, int], int] = {}
        leading: dict[tuple[int, int], int] = {}
        for at, voice in enumerate(voices):
            if voice.heard - c.ahead <= voice.given:
                continue
            giver = max(0, voice.given // c.trunk_segment - 1)
            for side, row in enumerate(voice.segments):
                there = min(voice.heard, row.end(c)) - row.start(c) - row.place
                if there > 0:
                    waiting[at, side] = there
                    if row.number == giver:
                        leading[at, side] = there
        if not leading:
            return {}
        most = min(_MOST, max(leading.values()))
        taken = {key: min(there, most) for key, there in leading.items()}
        for (at, side), there in waiting.items():
            if (at, 1 - side) not in leading:
                continue
            row, other = voices[at].segments[side], voices[at].segments[1 - side]
            reached = other.start(c) + other.place + taken[at, 1 - side]
            if reached < other.end(c):  # what lies beyond is the other row's to give
                there = min(there, reached - row.start(c) - row.place)
            if there > 0:
                taken[at, side] = min(there, _MOST, most + _CATCH_UP)
        return taken

    def _run(self, voices: Sequence[VoiceSegments], taken: dict[tuple[int, int], int]) -> Iterator[tuple[int, Array]]:
        """Each row's inputs through the layers; the features that voices give, with the voice's number."""
        c, layers = self.sizes, len(self.sizes.trunk_rights)
        rows = {voices[at].rows[side]: (at, side) for at, side in taken}
        low, high = min(rows), max(rows) + 1
        if 2 * len(rows) > high - low:  # nearly all rows in between work: they go as they lie
            order = list(range(low, high))
            past = {name: buffer[low:high] for name, buffer in self._buffers.items()}
        else:
            order = sorted(rows)
            past = {name: buffer[order] for name, buffer in self._buffers.items()}
        new = max(taken.values())
        stem = np.zeros((len(order), c.ahead + new, c.trunk_width), np.float32)
        place = np.zeros(len(order), np.int64)
        for k, row in enumerate(order):
            if row not in rows:
                continue
            at, side = rows[row]
            voice, segment, count = voices[at], voices[at].segments[side], taken[rows[row]]
            begin = segment.start(c) + segment.place - voice.stem_first
            stem[k, : c.ahead] = past["stem"][k]
            stem[k, c.ahead : c.ahead + count] = voice.stem[begin : begin + count]
            place[k] = segment.place
        made = self.graphs.run("trunk", {**past, "place": place, "stem": stem})
        outputs, fresh = made[:layers], made[layers:]
        levels = [stem]
        for k in range(layers - 1):
            levels.append(np.concatenate([past[f"lower{k}"], outputs[k]], 1))
        levels.append(outputs[-1])
        # Of a voice's two segments the earlier one gives first.
        places = {row: k for k, row in enumerate(order)}
        for row in sorted(rows, key=lambda row: voices[rows[row][0]].segments[rows[row][1]].number):
            (at, side), k = rows[row], places[row]
            voice, segment, count = voices[at], voices[at].segments[side], taken[rows[row]]
            if segment.number == max(0, voice.given // c.trunk_segment - 1):
                # Output i of the last layer is the feature at position place - ahead + i.
                skip = voice.given - (segment.start(c) + segment.place - c.ahead)
                if skip < count:
                    voice.given += count - skip
                    yield at, np.stack([level[k, skip:count] for level in levels], 1)
            self._keep(row, k, count, segment, stem, outputs, fresh)
            segment.place += count
            if segment.place == c.cached:
                voice.segments[side] = Row(segment.number + 2)

    def _keep(
        self, row: int, k: int, count: int, segment: Row, stem: Array, outputs: list[Array], fresh: list[Array]
    ) -> None:
        """What row `row` of the buffers (row `k` of the batch) remembers of `count` new inputs."""
        c, layers, base = self.sizes, len(self.sizes.trunk_rights), segment.place
        self._buffers["stem"][row] = stem[k, count : count + c.ahead]
        for layer, right in enumerate(c.trunk_rights):
            first = max(0, -base)
            if first < count:
                where = slice(base + first, base + count)
                self._buffers[f"keys{layer}"][row, :, where] = fresh[2 * layer][k, :, first:count]
                self._buffers[f"values{layer}"][row, :, where] = fresh[2 * layer + 1][k, :, first:count]
            if layer + 1 < layers:
                kept = self._buffers[f"lower{layer}"][row]
                if count < len(kept):
                    kept[: len(kept) - count] = kept[count:].copy()
                    kept[len(kept) - count :] = outputs[layer][k, :count]
                else:
                    kept[:] = outputs[layer][k, count - len(kept) : count]
            base -= right

    def _forget(self, voice: VoiceSegments) -> None:
        """Drop inputs that neither a segment under way nor the row's next one still has to hear."""
        c = self.sizes
        needed = min(row.start(c) + min(row.place, 2 * c.trunk_segment) for row in voice.segments)
        gone = min(needed, voice.heard) - voice.stem_first
        if gone > 0:
            voice.stem = voice.stem[gone:]
            voice.stem_first += gone
