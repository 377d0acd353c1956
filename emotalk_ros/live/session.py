"""One visitor's connection: messages in, frames and status out, until he goes. Frees his voice whatever happens."""

from __future__ import annotations

import asyncio
import contextlib
import json
import logging
import time
from collections import deque
from collections.abc import Callable
from dataclasses import asdict
from typing import Any

from starlette.websockets import WebSocket, WebSocketDisconnect

from emotalk_ros.live.feeds import Feed
from emotalk_ros.live.frames import AudioMessage, LiveFrame, MessageError, read_audio, write_frames
from emotalk_ros.live.recording import Recording, Shelf
from emotalk_ros.live.settings import LiveSettings
from emotalk_ros.live.voice import Voice
from emotalk_ros.streaming.engine import Asking
from emotalk_ros.streaming.hub import PassThread

POLICY, FAILED, TRY_LATER = 1008, 1011, 1013
"""Close codes of WebSocket (RFC 6455 and IANA's registry)."""
_STATUS = 0.5
logger = logging.getLogger(__name__)
_OUTBOX = 200
"""Batches of frames that a page may be behind."""


class Leave(Exception):
    """The connection is closed by this side, with a code and a reason."""

    def __init__(self, code: int, reason: str) -> None:
        super().__init__(reason)
        self.code, self.reason = code, reason


class Session:
    """A visitor with a voice of his own, or one who watches a feed.

    Args:
        socket: accepted.
        make_voice: makes a voice; called in the model's thread, when the first stream starts.
        model_thread: one thread for all voices, which answers what they ask of the network at a time in one pass.
        settings: limits.
        shelf: where finished recordings go.
        feeds: what can be watched.
    """

    def __init__(
        self,
        socket: WebSocket,
        make_voice: Callable[[], Voice] | None,
        model_thread: PassThread,
        settings: LiveSettings,
        shelf: Shelf,
        feeds: dict[str, Feed],
        describe: Callable[[], dict[str, Any]],
    ) -> None:
        self._socket, self._make_voice, self._thread = socket, make_voice, model_thread
        self._settings, self._shelf, self._feeds, self._describe = settings, shelf, feeds, describe
        self.voice: Voice | None = None
        self._work: asyncio.Queue[AudioMessage | str] = asyncio.Queue()
        self._waiting = 0.0  # seconds of audio in the queue
        self._heard: deque[tuple[float, float]] = deque()  # end of a piece of audio, when it came
        self._latencies: deque[float] = deque(maxlen=150)
        self._recording: Recording | None = None
        self._allowance = settings.burst
        self._filled_at = time.monotonic()
        self.skipped_hops = 0
        self.sent_frames = 0
        self._watching: dict[str, asyncio.Task[None]] = {}
        self._outbox: asyncio.Queue[list[LiveFrame]] = asyncio.Queue()
        self._making = asyncio.Lock()

    async def run(self) -> None:
        """Until the visitor goes or must go."""
        tasks = [asyncio.create_task(work) for work in (self._listen(), self._speak(), self._deliver(), self._tell())]
        try:
            done, _ = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
            for task in done:
                task.result()
        except Leave as leave:
            with contextlib.suppress(RuntimeError, WebSocketDisconnect):
                await self._say("error", text=leave.reason)
                await self._socket.close(leave.code, leave.reason[:120])
        except WebSocketDisconnect:
            pass
        except Exception:
            logger.exception("a visitor's voice failed")
            with contextlib.suppress(RuntimeError, WebSocketDisconnect):
                await self._say("error", text="The server failed at this; its log says why. Load the page again.")
                await self._socket.close(FAILED, "the server failed")
        finally:
            for task in [*tasks, *self._watching.values()]:
                task.cancel()
            await asyncio.gather(*tasks, *self._watching.values(), return_exceptions=True)
            if self._recording is not None and self._recording.seconds:
                self._shelf.put(self._recording)
            self.voice = None

    # -- from the visitor ------------------------------------------------------------------------------------------

    async def _listen(self) -> None:
        while True:
            message = await self._socket.receive()
            if message["type"] == "websocket.disconnect":
                raise WebSocketDisconnect(message.get("code", 1000))
            data, text = message.get("bytes"), message.get("text")
            try:
                if data is not None:
                    self._take_audio(data)
                elif text is not None:
                    await self._take_words(text)
            except MessageError as error:
                await self._say("error", text=str(error))

    def _take_audio(self, data: bytes) -> None:
        if self._make_voice is None:
            raise MessageError("this page shows faces that move elsewhere; it takes no audio")
        audio = read_audio(data, self._settings.max_chunk)
        now = time.monotonic()
        burst = self._settings.burst
        self._allowance = min(burst, self._allowance + 1.02 * (now - self._filled_at)) - audio.seconds
        self._filled_at = now
        if self._allowance < -burst:
            raise Leave(POLICY, "audio comes faster than real time: send it as it is spoken")
        if self._allowance < 0:
            return
        self._waiting += audio.seconds
        self._heard.append((audio.first / audio.rate + audio.seconds, now))
        self._work.put_nowait(audio)

    async def _take_words(self, text: str) -> None:
        try:
            words = json.loads(text)
            kind = words.pop("type")
        except (ValueError, KeyError, AttributeError, TypeError, RecursionError):
            raise MessageError("a text message must be a JSON object with a type") from None
        if kind in ("start", "stop"):
            self._work.put_nowait(kind)
        elif kind == "controls":
            await self._set_controls(words)
        elif kind == "record":
            await self._record(bool(words.get("on")))
        elif kind == "watch":
            self._watch(str(words.get("feed")), bool(words.get("on", True)))
        elif kind == "ping":
            await self._say("pong", sent=words.get("sent"))
        else:
            raise MessageError(f"a message of type {str(kind)[:40]!r} is not known")

    async def _set_controls(self, words: dict[str, Any]) -> None:
        """Each message is answered with the controls as they are then, also one that was refused."""
        voice = await self._ready_voice()
        try:
            controls = voice.controls.changed(words)
            await self._in_model_thread(lambda: setattr(voice, "controls", controls))
        except MessageError as error:
            await self._say("error", text=str(error))
        await self._say("controls", **asdict(voice.controls))

    async def _record(self, on: bool) -> None:
        if on:
            voice = await self._ready_voice()
            self._recording = Recording(voice.labels, voice.fps, self._settings.max_recording)
            await self._say("recording", on=True)
            return
        recording, self._recording = self._recording, None
        if recording is None or not recording.seconds:
            await self._say("recording", on=False, seconds=0.0)
            return
        self._shelf.put(recording)
        await self._say("recording", on=False, name=recording.name, seconds=round(recording.seconds, 2))

    def _watch(self, name: str, on: bool) -> None:
        feed = self._feeds.get(name)
        if feed is None:
            raise MessageError(f"no feed {name[:60]!r}; there are {', '.join(self._feeds) or 'none'}")
        task = self._watching.pop(name, None)
        if task is not None:
            task.cancel()
        if on:
            self._watching[name] = asyncio.create_task(self._relay(feed))

    async def _relay(self, feed: Feed) -> None:
        queue = feed.watch()
        number = list(self._feeds).index(feed.name)
        try:
            while True:
                message = await queue.get()
                await self._socket.send_bytes(bytes([message[0] | 0x80, *message[1:]]) + bytes([number]))
        except (RuntimeError, WebSocketDisconnect):
            pass
        finally:
            feed.leave(queue)

    # -- to the visitor --------------------------------------------------------------------------------------------

    async def _speak(self) -> None:
        """Everything that waits is computed at once, in the model's thread; then the frames go out."""
        while True:
            timeout = self._settings.idle_timeout if self._heard else None
            try:
                first = await asyncio.wait_for(self._work.get(), timeout)
            except (TimeoutError, asyncio.TimeoutError):
                first = "pause"
            items: list[AudioMessage | str] = [first]
            while not self._work.empty():
                items.append(self._work.get_nowait())
            voice = await self._ready_voice()
            lag, self._waiting = self._waiting, 0.0
            if lag > self._settings.max_lag:
                self.skipped_hops += voice.skip(lag - 0.5 * self._settings.max_lag)
            await asyncio.wrap_future(self._thread.work(voice.model, self._compute(voice, items)))

    async def _in_model_thread(self, work: Callable[[], Any]) -> Any:
        return await asyncio.wrap_future(self._thread.call(work))

    def _compute(self, voice: Voice, items: list[AudioMessage | str]) -> Asking[None]:
        """In the model's thread. Frames go out after each message, so that none waits for the next one's hop."""
        loop = self._loop
        for item in items:
            if isinstance(item, AudioMessage):
                frames = yield from voice.pushing(item)
                if self._recording is not None:
                    self._recording.add_sound(item.first, item.rate, item.channels, item.data)
            else:
                frames = yield from voice.ending()
                loop.call_soon_threadsafe(self._heard.clear)
            if frames:
                loop.call_soon_threadsafe(self._outbox.put_nowait, frames)

    async def _deliver(self) -> None:
        """One task sends all frames, so that they stay in order; a page that takes none for long misses the oldest."""
        while True:
            frames = await self._outbox.get()
            if self._recording is not None:
                self._recording.add_frames(frames)
            now = time.monotonic()
            for frame in frames:
                while len(self._heard) > 1 and self._heard[0][0] <= frame.time:
                    self._heard.popleft()
                if self._heard:
                    self._latencies.append(now - self._heard[0][1])
            if self._outbox.qsize() > _OUTBOX:
                continue
            for at in range(0, len(frames), 200):
                await self._socket.send_bytes(write_frames(frames[at : at + 200]))
            self.sent_frames += len(frames)

    async def _ready_voice(self) -> Voice:
        if self._make_voice is None:
            raise MessageError("this page shows faces that move elsewhere; there is no voice to control")
        async with self._making:
            if self.voice is None:
                self._loop = asyncio.get_running_loop()
                self.voice = await self._in_model_thread(self._make_voice)
                await self._say("voice", labels=self.voice.labels, fps=self.voice.fps, latency=self.voice.latency)
        return self.voice

    async def _tell(self) -> None:
        while True:
            await asyncio.sleep(_STATUS)
            ordered = sorted(self._latencies)
            await self._say(
                "status",
                latency_ms=[round(1000 * ordered[int(q * (len(ordered) - 1))]) for q in (0.5, 0.95)] if ordered else [],
                skipped_hops=self.skipped_hops,
                frames=self.sent_frames,
                recorded=round(self._recording.seconds, 1) if self._recording else None,
                **self._describe(),
            )

    async def _say(self, kind: str, **values: Any) -> None:
        await self._socket.send_text(json.dumps({"type": kind, **values}))
