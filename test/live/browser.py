"""A real Chromium, headless, whose microphone plays a file: for the tests of the page and scripts/measure_live.py."""

from __future__ import annotations

import base64
import os
import shutil
import time
from contextlib import contextmanager

NAMES = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")
FLAGS = (
    "--no-sandbox",
    "--disable-gpu",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--no-first-run",
    "--use-angle=swiftshader",
    "--enable-unsafe-swiftshader",
    "--use-fake-device-for-media-stream",
    "--autoplay-policy=no-user-gesture-required",
)
"""No graphics card, no sound card, no traffic of its own."""


def find_chromium():
    """Path of a Chromium, or None; $EMOTALK_CHROMIUM names another."""
    named = os.environ.get("EMOTALK_CHROMIUM")
    return named or next((path for name in NAMES if (path := shutil.which(name))), None)


@contextmanager
def chromium(play, microphone=None, refuse=False, size=(1000, 640)):
    """A page in a fresh browser; `microphone` is the wav that its fake microphone plays again and again.

    `play` is what `sync_playwright()` gives: one for all browsers of a thread.
    """
    flags = [*FLAGS, "--deny-permission-prompts" if refuse else "--use-fake-ui-for-media-stream"]
    if microphone is not None:
        flags.append(f"--use-file-for-fake-audio-capture={microphone}")
    browser = play.chromium.launch(executable_path=find_chromium(), headless=True, args=flags)
    try:
        page = browser.new_page(viewport={"width": size[0], "height": size[1]})
        page.errors = []
        page.on("console", lambda m: page.errors.append(m.text) if m.type == "error" else None)
        page.on("pageerror", lambda error: page.errors.append(str(error)))
        yield page
    finally:
        browser.close()


def press(page, selector):
    """A click at once: the library's own waits until nothing moves, which a face never does."""
    page.evaluate("(selector) => document.querySelector(selector).click()", selector)


def wait(page, expression, seconds=60.0):
    """Until a JavaScript expression is true (the page's policy forbids the library's own way); returns its value."""
    end = time.monotonic() + seconds
    while not (value := page.evaluate(expression)):
        if time.monotonic() > end:
            raise AssertionError(f"not so within {seconds:g} s: {expression}; errors: {page.errors}")
        time.sleep(0.1)
    return value


def opened(page, address):
    """The page at `address`, when it is ready."""
    page.goto(address)
    wait(page, "Boolean(window.emotalk && window.emotalk.ready)")
    return page


def picture(page):
    """What the page shows now, as PNG (the library's own way waits for a page that stands still)."""
    session = page.context.new_cdp_session(page)
    data = session.send("Page.captureScreenshot", {"format": "png"})["data"]
    session.detach()
    return base64.b64decode(data)
