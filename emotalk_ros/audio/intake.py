"""Chunks with stamps in, one gapless time line out: between an audio topic and the engine, or a loudspeaker."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator
from dataclasses import asdict, dataclass

import numpy as np

from emotalk_ros.audio.channels import ChannelMixer
from emotalk_ros.audio.leveller import Leveller
from emotalk_ros.audio.pcm import (
    AudioFormatError,
    Samples,
    canonical_encoding,
    check_channels,
    decode_pcm,
    finite,
    frame_bytes,
)
from emotalk_ros.audio.resample import StreamResampler, check_rate
from emotalk_ros.audio.ring import RingBuffer
from emotalk_ros.audio.timeline import Placement, StampTracker, TimelineSettings, Verdict
from emotalk_ros.units import NS, SAMPLE_RATE

_PIECE_SECONDS = 1.0  # a ten-minute chunk is decoded in pieces of this length
LONGEST_CAPTURE = 1.0
"""Seconds; longer chunks do not come from a microphone."""
_FULL_SCALE_ALARM = 4.0  # float samples beyond this are not a loud recording but another scale


@dataclass(frozen=True)
class PcmChunk:
    """One message's worth of audio."""

    data: bytes | bytearray | memoryview
    """Interleaved PCM."""
    encoding: str
    """One of `ENCODINGS`, or another package's spelling of it."""
    channels: int
    sample_rate: int
    """Hz."""
    stamp_ns: int = 0
    """Capture time of the first sample; 0 when unknown: then the chunk follows what came before."""
    arrival_ns: int = 0
    """When the message came in, on the clock of the stamps. Used only where the stamp is unknown; 0: unknown too."""


def unstamped_begin(arrival_ns: int, seconds: float) -> int:
    """When the first sample of a chunk without a stamp sounds: live sound is sent when its last sample was captured; a
    longer chunk than a microphone's is speech that begins now."""
    return arrival_ns - (round(seconds * NS) if seconds <= LONGEST_CAPTURE else 0)


@dataclass(frozen=True)
class Segment:
    """Mono audio to feed, at the intake's rate, in line with the segment before it unless `reset`."""

    samples: Samples
    """(n,) float32, finite, within +-1."""
    stamp_ns: int
    """Time of the first sample."""
    reset: bool = False
    """A gap too long to fill, a jump back, or the end of another stream lies before this segment."""


@dataclass
class IntakeStatistics:
    """Counts since the beginning. Samples are counted at the rate they are handed out, whatever rate they came in."""

    chunks: int = 0
    rejected_chunks: int = 0
    samples: int = 0
    """Handed out."""
    gaps: int = 0
    """Short ones, filled with silence."""
    filled_samples: int = 0
    long_gaps: int = 0
    """Too long to fill: a new time line began."""
    jumps_back: int = 0
    late_stamps: int = 0
    """Chunks kept although their stamps lay before the end of the audio so far: their audio was new."""
    sent_ahead: int = 0
    """Streams whose sound came faster than their stamps allow: taken as stamped with the time of sending."""
    overlaps: int = 0
    """Chunks that were wholly or in part there already."""
    dropped_samples: int = 0
    """Dropped because they overlapped or belonged to another time line."""
    foreign_chunks: int = 0
    """Chunks of a second publisher's time line, dropped."""
    rate_changes: int = 0
    invalid_samples: int = 0
    """NaN or infinite, replaced by silence."""
    clipped_samples: int = 0
    trimmed_bytes: int = 0
    """Left over at chunks' ends, less than one sample of every channel."""
    slipped_samples: int = 0
    """Inserted minus removed (at the input's rate) to follow the drift of the stamps' clock."""

    def as_dict(self) -> dict[str, int]:
        """The counts by name, for diagnostics."""
        return asdict(self)


class AudioIntake:
    """Turns stamped PCM chunks into mono segments on one time line.

    Args:
        settings: what counts as jitter, as a gap, as a new time line.
        channel: which channel to listen to: one of `audio.channels.CHOICES` or a number counted from 0; None: `mix`.
        rate: of the segments, in Hz.
        leveller: amplifies quiet speech; None leaves the level as it is.

    No clock, no thread: the output depends on the chunks alone. Not safe to call from two threads at once.
    """

    def __init__(
        self,
        settings: TimelineSettings | None = None,
        channel: str | int | None = None,
        rate: int = SAMPLE_RATE,
        leveller: Leveller | None = None,
    ) -> None:
        self._mixer = ChannelMixer(channel)
        self._leveller = leveller
        self.rate = check_rate(rate)
        self.statistics = IntakeStatistics()
        self._tracker = StampTracker(settings)
        self._resampler: StreamResampler | None = None
        self._line = RingBuffer(1)  # the newest samples, at their own rate
        self._origin_ns = 0
        self._out = 0
        self._ended = False
        self._warnings: deque[str] = deque(maxlen=32)
        self._recent_overlaps: deque[bool] = deque(maxlen=50)

    @property
    def end_ns(self) -> int:
        """Stamp at which the next sample is expected (0 before the first)."""
        return self._tracker.end_ns

    def push(self, chunk: PcmChunk) -> list[Segment]:
        """Take one chunk; returns the audio that is ready, often one segment, sometimes none.

        Raises AudioFormatError for an unknown encoding, 0 or too many channels or an impossible rate; the stream
        goes on as if that chunk had been lost. Everything else is repaired and counted, and `take_warnings` names it.
        """
        return [segment for segment in self._push(chunk) if len(segment.samples)]

    def flush(self) -> list[Segment]:
        """The stream is over: hands out what the resampler still held. The next chunk starts a new time line."""
        rest = self._drain()
        self._tracker.clear()
        self._ended = True
        return rest

    def take_warnings(self) -> list[str]:
        """What was repaired since the last call, readable, for a throttled log (at most 32)."""
        warnings = list(self._warnings)
        self._warnings.clear()
        return warnings

    # -- one chunk -----------------------------------------------------------------------------------------------

    def _push(self, chunk: PcmChunk) -> Iterator[Segment]:
        try:
            rate = check_rate(chunk.sample_rate)
            unit = frame_bytes(chunk.encoding, check_channels(chunk.channels))
            self._mixer.check(chunk.channels)
        except AudioFormatError:
            self.statistics.rejected_chunks += 1
            raise
        self.statistics.chunks += 1
        data = memoryview(chunk.data).cast("B")
        if left := data.nbytes % unit:
            self.statistics.trimmed_bytes += left
            self._warn(
                f"{data.nbytes} bytes are not a whole number of {chunk.channels}-channel "
                f"{canonical_encoding(chunk.encoding)} samples ({unit} bytes each): the last {left} are dropped"
            )
        count = data.nbytes // unit
        if not count:
            return
        stamp = self._stamp(chunk, count / rate)
        place = self._tracker.place(
            stamp, count, rate, lambda early: self._repeats(chunk, data, unit, early), chunk.arrival_ns
        )
        self._account(place, count, rate)
        if place.verdict is Verdict.FOREIGN or place.drop >= count:
            return
        yield from self._switch(place, self._tracker.end_ns - count * NS // rate, rate)
        yield from self._convert(chunk, data[place.drop * unit : count * unit], unit, place)

    def _stamp(self, chunk: PcmChunk, seconds: float) -> int | None:
        """The chunk's stamp; without one, its time of arrival where the stream begins or was silent for long."""
        if chunk.stamp_ns:
            return chunk.stamp_ns
        if not chunk.arrival_ns:
            return None
        begin = unstamped_begin(chunk.arrival_ns, seconds)
        silent = begin - self._tracker.end_ns > self._tracker.settings.max_gap * NS
        return begin if silent or not self._tracker.started else None

    def _repeats(self, chunk: PcmChunk, data: memoryview, unit: int, early: int) -> bool | None:
        """Whether a chunk stamped `early` samples before the end begins with what the line holds there.

        None: both are silent, and nobody knows.
        """
        if self._resampler is None or chunk.sample_rate != self._resampler.rate:
            return False
        count = min(early, data.nbytes // unit, 256)
        samples = decode_pcm(data[: count * unit], chunk.encoding, chunk.channels)
        head = self._mixer.preview(finite(samples)[0]).clip(-1.0, 1.0)
        for shift in (0, -1, 1, -2, 2):  # stamps are rounded
            begin = self._line.end - early + shift
            if self._line.start <= begin and begin + count <= self._line.end:
                there = self._line.read(begin, begin + count)
                if np.allclose(there, head, rtol=0.0, atol=1e-4):
                    return None if np.abs(head).max(initial=0.0) <= 1e-4 else True
        return False

    def _switch(self, place: Placement, begin_ns: int, rate: int) -> Iterator[Segment]:
        """Close the old time line, or the old rate, before the chunk's own samples."""
        if place.verdict is Verdict.RESTART:
            yield from self._drain()
            again = self._resampler is not None or self._ended
            self._open(rate)
            self._origin_ns, self._out, self._ended = begin_ns, 0, False
            self._reset_next = again
            return
        assert self._resampler is not None  # a tracker that has started has a resampler
        if rate != self._resampler.rate:
            self.statistics.rate_changes += 1
            self._warn(f"the sample rate changed from {self._resampler.rate} to {rate} Hz in mid-stream")
            yield from self._drain()
            self._open(rate)

    def _open(self, rate: int) -> None:
        self._resampler = StreamResampler(rate, self.rate)
        self._line = RingBuffer(round((self._tracker.settings.max_jitter + 0.05) * rate))

    def _convert(self, chunk: PcmChunk, data: memoryview, unit: int, place: Placement) -> Iterator[Segment]:
        assert self._resampler is not None
        rate = self._resampler.rate
        if place.fill:
            silence = np.zeros(place.fill, dtype=np.float32)
            self._line.append(silence)
            yield self._emit(self._resampler.push(silence))
        step = max(1, round(_PIECE_SECONDS * rate)) * unit
        slip = place.slip
        for at in range(0, data.nbytes, step):
            mono = self._mono(decode_pcm(data[at : at + step], chunk.encoding, chunk.channels), rate)
            if slip:
                mono, slip = _stretch(mono, slip), 0
            self._line.append(mono)
            yield self._emit(self._resampler.push(mono))

    def _mono(self, samples: Samples, rate: int) -> Samples:
        """(n, channels) of anything to (n,) finite and within full scale."""
        samples, bad = finite(samples)
        if bad:
            self.statistics.invalid_samples += bad
            self._warn(f"{bad} samples are NaN or infinite: replaced by silence")
        mono = self._mixer.mix(samples, rate)
        if self._mixer.warning:
            self._warn(self._mixer.warning)
            self._mixer.warning = ""
        peak = float(np.abs(mono).max(initial=0.0))
        if peak > 1.0:
            self.statistics.clipped_samples += int(np.count_nonzero(np.abs(mono) > 1.0))
            if peak > _FULL_SCALE_ALARM:
                self._warn(f"floating-point samples reach {peak:.6g}: full scale is 1.0, divide by the integer range")
            mono = np.clip(mono, -1.0, 1.0)
        return np.ascontiguousarray(mono)

    def _emit(self, samples: Samples) -> Segment:
        if self._leveller is not None:
            samples = self._leveller(samples)
            if self._leveller.warning:
                self._warn(self._leveller.warning)
                self._leveller.warning = ""
        stamp = self._origin_ns + self._out * NS // self.rate
        reset = self._reset_next and len(samples) > 0
        self._reset_next = self._reset_next and not reset
        self._out += len(samples)
        self.statistics.samples += len(samples)
        # Resampling overshoots where the sound is clipped.
        return Segment(np.clip(samples, -1.0, 1.0), stamp, reset)

    _reset_next = False

    def _drain(self) -> list[Segment]:
        tail = self._resampler.flush() if self._resampler is not None else np.zeros(0, dtype=np.float32)
        return [self._emit(tail)] if len(tail) else []

    # -- warnings -----------------------------------------------------------------------------------------------------

    def _warn(self, text: str) -> None:
        if not self._warnings or self._warnings[-1] != text:
            self._warnings.append(text)

    def _account(self, place: Placement, count: int, rate: int) -> None:
        """Count and describe what was decided about a chunk."""
        statistics, offset = self.statistics, place.offset_ns / NS
        dropped = count if place.verdict is Verdict.FOREIGN else place.drop
        statistics.dropped_samples += round(dropped * self.rate / rate)
        statistics.filled_samples += round(place.fill * self.rate / rate)
        statistics.slipped_samples += place.slip
        self._recent_overlaps.append(dropped > 0)
        if place.verdict is Verdict.FOREIGN:
            statistics.foreign_chunks += 1
            self._warn(
                f"stamps {offset:+.3f} s away from the stream keep coming: a second publisher on this topic? "
                "Its chunks are dropped"
            )
        elif place.verdict is Verdict.RESTART and place.offset_ns:
            if offset > 0:
                statistics.long_gaps += 1
                self._warn(f"no audio for {offset:.3f} s, too long to fill: the stream starts anew")
            else:
                statistics.jumps_back += 1
                self._warn(f"stamps jumped back by {-offset:.3f} s: the stream starts anew")
        elif place.sent_ahead:
            statistics.sent_ahead += 1
            self._warn(
                f"sound comes faster than its stamps allow ({-offset:.2f} s ahead of them): its publisher stamps with "
                "the time of sending; from now on it is one stream at its own rate, and nothing is dropped "
                "(audio.stamps: auto; `publish` says so from the start, `capture` forbids it)"
            )
        elif place.fill:
            statistics.gaps += 1
            self._warn(f"a gap of {offset * 1000:.1f} ms was filled with silence")
        elif place.late_stamp:
            statistics.late_stamps += 1
            self._warn(
                f"stamps jitter: a chunk's lies {-offset * 1000:.1f} ms before the end of the audio so far, which was "
                "new; stamp chunks with the time of capture"
            )
        elif place.drop:
            statistics.overlaps += 1
            self._warn(
                f"a chunk overlaps the audio before it by {-offset * 1000:.1f} ms: "
                f"dropped what was there already{self._hint()}"
            )

    def _hint(self) -> str:
        often = sum(self._recent_overlaps) >= 10
        return (
            " (it happens often: two publishers on this topic, a wrong sample_rate, or stamps not to be trusted?)"
            if often
            else ""
        )


def _stretch(samples: Samples, slip: int) -> Samples:
    """The same sound in `slip` more (or fewer) samples, by linear interpolation."""
    count = len(samples) + slip
    if count <= 0:
        return samples[:0]
    at = np.arange(count, dtype=np.float64) * (len(samples) / count)
    return np.interp(at, np.arange(len(samples)), samples).astype(np.float32)
