"""The live page in a real Chromium, measured: pictures a second, delay from sound to face, drift, a screenshot.

scripts/measure_live.py                                      30 s through the browser's (fake) microphone
scripts/measure_live.py --minutes 10                         and how sound and face lie to each other, at both ends
scripts/measure_live.py --screenshot docs/images/live.png

Delay: from the moment a sample of sound exists in the browser to the picture that shows its frame. Offset: the lag at
which the opening of the mouth on the page follows the loudness of the sound that is played, by cross-correlation over
the first and the last minute. Without a graphics card Chromium draws in software, on the same cores.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
import soundfile

ROOT = Path(__file__).resolve().parents[1]
sys.path[:0] = [str(ROOT), str(ROOT / "test" / "live")]

from browser import chromium, opened, press, wait  # noqa: E402

from emotalk_ros.audio import load_audio  # noqa: E402
from emotalk_ros.share import candidate_paths  # noqa: E402

LAGS = np.arange(-60, 61)  # of 10 ms


def serve(arguments):
    """`emotalk live` in a process of its own; its address."""
    command = [sys.executable, "-c", "from emotalk_ros.cli import main; main()", "live", "--port", "0", "--no-browser"]
    process = subprocess.Popen([*command, *arguments], stdout=subprocess.PIPE, text=True, cwd=ROOT)
    return process, process.stdout.readline().strip()


def offset(history, loudness):
    """Seconds by which the mouth follows the sound, and the correlation there."""
    times = np.arange(max(history[0, 0], loudness[0, 0]), min(history[-1, 0], loudness[-1, 0]), 0.01)
    mouth = np.interp(times, *history.T)
    sound = np.interp(times, loudness[:, 0], 20 * np.log10(loudness[:, 1] + 1e-3))

    # A jaw follows syllables: compare what changes at their pace.
    def pace(x):
        smooth = np.convolve(x, np.hanning(9) / np.hanning(9).sum(), "same")
        return smooth - np.convolve(smooth, np.ones(101) / 101, "same")

    mouth, sound = pace(mouth), pace(sound)
    inner = slice(200, -200)
    scores = [np.corrcoef(np.roll(sound, lag)[inner], mouth[inner])[0, 1] for lag in LAGS]
    best = int(np.argmax(scores))
    return LAGS[best] / 100, scores[best]


def play(page, sound, minutes):
    """Let the page play a file; history of the mouth and loudness of what is heard, as arrays."""
    page.evaluate("window.heard = []; emotalk.keep = true; emotalk.sound.measure((t, l) => heard.push([t, l]))")
    page.set_input_files("#file", str(sound))
    wait(page, "emotalk.sound.playing && emotalk.stages[0].player.received > 30")
    history, loudness = [], []
    end = time.monotonic() + 60 * minutes
    while time.monotonic() < end:
        page.wait_for_timeout(5000)
        history += page.evaluate("emotalk.history.splice(0)")
        loudness += page.evaluate("heard.splice(0)")
    return np.array(history), np.array(loudness)


def figures(page):
    """What the page knows of itself."""
    return page.evaluate(
        """(() => { const p = emotalk.stages[0].player, q = emotalk.quantile, r = emotalk.rates.slice(4);
        return { rate: q(r, 0.5), low: q(r, 0.1), delays: [q(p.delays, 0.5), q(p.delays, 0.95)],
          arrivals: [q(p.arrivals, 0.5), q(p.arrivals, 0.95)], received: p.received, dropped: p.dropped,
          status: emotalk.status, scale: emotalk.stages[0].face.scale } })()"""
    )


def main():
    """Parse, measure, print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seconds", type=float, default=30.0, help="through the microphone")
    parser.add_argument("--minutes", type=float, default=0.0, help="of a file that is played; 0: none")
    parser.add_argument("--screenshot", type=Path)
    parser.add_argument("--no-drawing", action="store_true", help="leave out the 3D picture: times only")
    parser.add_argument("--size", default="1000x640", help="of the browser's window")
    parser.add_argument("--speech", type=Path, help="default: the demo's")
    options = parser.parse_args()
    width, height = map(int, options.size.split("x"))
    speech = options.speech or next(p for p in candidate_paths("examples/speech/demo.ogg") if p.exists())
    server, address = serve([])
    from playwright.sync_api import sync_playwright

    try:
        with tempfile.TemporaryDirectory() as folder, sync_playwright() as browsers:
            voice = Path(folder) / "speech.wav"
            samples = load_audio(speech)
            soundfile.write(voice, samples, 16000, subtype="PCM_16")
            with chromium(browsers, voice, size=(width, height)) as page:
                opened(page, address)
                if options.no_drawing:
                    page.evaluate("emotalk.stages[0].face.draw = () => {}")
                press(page, "#microphone")
                wait(page, "emotalk.stages[0].player.received > 30")
                page.wait_for_timeout(1000 * options.seconds)
                print("microphone:", _words(figures(page)))
                if options.screenshot:
                    _picture(page, options.screenshot)
                press(page, "#stop")
                if options.minutes:
                    # Not a loop: a repeated clip would hide drift by whole rounds.
                    rng = np.random.default_rng(0)
                    pieces, total = [], 0
                    while total < 16000 * 60 * (options.minutes + 0.3):
                        pieces.append(np.concatenate([samples, np.zeros(rng.integers(2000, 24000), np.float32)]))
                        total += len(pieces[-1])
                    long = Path(folder) / "long.wav"
                    soundfile.write(long, np.concatenate(pieces), 16000, subtype="PCM_16")
                    history, loudness = play(page, long, options.minutes)
                    print("played:", _words(figures(page)))
                    for name, part in (("first", slice(0, 60)), ("last", slice(-60, None))):
                        _print_offset(name, part, history, loudness)
                    print("errors on the page:", page.errors or "none")
    finally:
        server.terminate()
        server.wait(20)


def _print_offset(name, part, history, loudness):
    start = history[0, 0] if part.start == 0 else history[-1, 0] - 60
    inside = [h[(h[:, 0] >= start) & (h[:, 0] <= start + 60)] for h in (history, loudness)]
    lag, score = offset(*inside)
    print(f"{name} minute: the mouth follows the sound by {1000 * lag:+.0f} ms (r {score:.2f})")


def _words(f):
    status = f["status"]
    return (
        f"{f['rate']:.0f} pictures a second (a tenth of the time {f['low']:.0f}), {f['scale']:.2f} of the resolution; "
        f"sound to picture p50 {1000 * f['delays'][0]:.0f} ms, p95 {1000 * f['delays'][1]:.0f} ms; "
        f"frame there p50 {1000 * f['arrivals'][0]:.0f} ms, p95 {1000 * f['arrivals'][1]:.0f} ms; "
        f"{f['received']} frames received, {f['dropped']} never shown; "
        f"server p50, p95 {status.get('latency_ms')} ms, {status.get('skipped_hops')} hops skipped"
    )


def _picture(page, path):
    """At full resolution, in the middle of a word."""
    page.evaluate(
        "(() => { const f = emotalk.stages[0].face; f.adapt = () => {}; f.renderer.setPixelRatio(1); f.width = 0; })()"
    )
    end = time.monotonic() + 20
    while page.evaluate("emotalk.current.coefficients[24]") < 0.12 and time.monotonic() < end:
        page.wait_for_timeout(30)
    page.screenshot(path=str(path))


if __name__ == "__main__":
    main()
