"""From an array of samples to an array of coefficients: checks, controls, `predict` and `analyse`."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from torch import Tensor

from emotalk_ros.model.analysis import Analysis, Array
from emotalk_ros.model.inputs import checked_audio, checked_level, checked_person
from emotalk_ros.model.output import EmoTalkOutput
from emotalk_ros.model.stream_windows import StreamWindows, analyse_windows
from emotalk_ros.model.timing import published_frame_count
from emotalk_ros.units import SAMPLE_RATE, frame_count


class SpeechToFace:
    """What `EmoTalk` and the baselines share: input checks, frame counts, `predict`."""

    config: Any
    min_samples: int
    splits_expression = False
    """Whether coefficients are the sum of speech and intensity times expression."""
    device: torch.device
    dtype: torch.dtype

    def frame_count(self, samples: int) -> int:
        """Frames that a clip of `samples` samples gives: ceil(samples / 16000 * fps)."""
        if getattr(self.config, "resampling", "grid") == "align_corners":
            return published_frame_count(samples, self.config.fps)
        return frame_count(samples, self.config.fps)

    def predict(
        self,
        audio: Array | Tensor,
        person: int | Any = 0,
        level: float = 1.0,
        emotion: Any = None,
        sample_rate: int = SAMPLE_RATE,
    ) -> Array:
        """Coefficients of one clip.

        Args:
            audio: (n,) float32 samples, mono, 16 kHz, full scale +-1.
            person: index 0..23, or 24 weights that sum to 1.
            level: intensity 0..1.
            emotion: `EmotionControl`; None: the emotion heard.
            sample_rate: rate of `audio`; anything but 16000 is refused.

        Returns:
            (frame_count(n), 52) float32.

        Raises:
            ValueError: wrong rate, type, shape, empty or too short audio, values that are not finite, person or level
                out of range.
        """
        return self._infer(audio, person, level, emotion, sample_rate, False).coefficients

    def analyse(
        self,
        audio: Array | Tensor,
        person: int | Any = 0,
        level: float = 1.0,
        emotion: Any = None,
        sample_rate: int = SAMPLE_RATE,
        **window: Any,
    ) -> Analysis:
        """`predict` with the emotion logits of each frame, from the same pass.

        `window`, for one of a stream's windows: `memory` (what `stream_memory` gave), `start` (the stream's frame that
        the window's frame 0 is) and `frames` (how many are wanted: those whose look-ahead is there).
        """
        return self._infer(audio, person, level, emotion, sample_rate, True, window)

    def stream_memory(self, frames: int, emotion_every: float = 0.0) -> Any:
        """What the windows of a stream, of up to `frames` frames, pass on to each other; None: nothing.

        `emotion_every`: seconds between two runs of an emotion encoder that hears whole windows; 0: with each window.
        Networks whose emotion goes on from frame to frame have no use for it.
        """
        return None

    def free_memory(self) -> None:
        """Give back what the GPU's allocator keeps for later, after memory ran out."""
        if self.device.type == "cuda":
            torch.cuda.empty_cache()

    def _infer(
        self,
        audio: Array | Tensor,
        person: Any,
        level: float,
        emotion: Any,
        sample_rate: int,
        per_frame: bool,
        window: dict[str, Any] | None = None,
    ) -> Analysis:
        values = self.check_audio(audio, sample_rate)
        if window and isinstance(window.get("memory"), StreamWindows):
            asked = {"person": person, "level": level, "emotion": emotion, **window}
            return analyse_windows(self, [(values.cpu().numpy(), asked)])[0]  # type: ignore[arg-type]
        inputs: dict[str, Any] = self._control_inputs(emotion) | (window or {})
        with torch.inference_mode():
            result = self(  # type: ignore[operator]
                values[None],
                person=self._person_input(person),
                level=self._level_input(level),
                frame_emotion=per_frame,
                **inputs,
            )
        return self.analysis(result)

    def analysis(self, result: EmoTalkOutput, row: int = 0) -> Analysis:
        """What a pass said about one of its clips, as arrays."""
        assert result.coefficients is not None
        labels = tuple(getattr(self.config, "emotion_labels", ()))
        frames = result.coefficients.shape[1]
        logits = np.zeros(len(labels), np.float32)
        frame_logits = np.zeros((frames, len(labels)), np.float32)
        if result.emotion_logits is not None:
            logits = _numpy(result.emotion_logits[row])
        if result.frame_emotion_logits is not None:
            frame_logits = _numpy(result.frame_emotion_logits[row])
        parts = [
            None if part is None else _numpy(part[row]) for part in (result.speech, result.expression, result.features)
        ]
        return Analysis(_numpy(result.coefficients[row]), logits, frame_logits, labels, *parts)

    def check_audio(self, audio: Array | Tensor, sample_rate: int = SAMPLE_RATE, name: str = "audio") -> Tensor:
        """`audio` as an (n,) float32 tensor on the model's device; ValueError names what is wrong with it."""
        if isinstance(audio, Tensor):
            audio = (audio.float() if audio.is_floating_point() else audio).detach().cpu().numpy()
        return torch.as_tensor(checked_audio(audio, self.min_samples, sample_rate, name), device=self.device)

    def _control_inputs(self, emotion: Any) -> dict[str, Tensor]:
        if emotion is None:
            return {}
        return emotion.model_inputs(self)

    def _person_input(self, person: Any) -> Tensor:
        checked = checked_person(person, self.config.num_persons)
        if isinstance(checked, int):
            return torch.tensor([checked], device=self.device)
        return torch.as_tensor(checked, device=self.device)[None]

    def _person_weights(self, person: Tensor | None, batch: int) -> Tensor:
        """(B, num_persons) weights from indices, weights or None (person 0)."""
        count = self.config.num_persons
        if person is None:
            person = torch.zeros(batch, dtype=torch.long, device=self.device)
        if person.dim() == 1 and person.shape[0] == batch and not person.is_floating_point():
            # Reading values stops a compiled graph, so only eager passes look.
            if not torch.compiler.is_compiling() and not bool(((person >= 0) & (person < count)).all()):
                raise ValueError(f"person must be 0..{count - 1}, got {person.tolist()}")
            person = torch.nn.functional.one_hot(person.long(), count)
        if person.shape != (batch, count):
            raise ValueError(
                f"expected person as ({batch},) int indices or ({batch}, {count}) weights, got {tuple(person.shape)}"
            )
        return person.to(self.dtype)

    def _level_input(self, level: float) -> Tensor:
        return torch.tensor([checked_level(level)], device=self.device)


def _numpy(tensor: Tensor) -> Array:
    return tensor.float().cpu().numpy()
