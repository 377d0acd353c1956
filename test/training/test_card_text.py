"""What others wrote stays text in a model card, of a network and of an ear: the cards are rendered and looked at."""

import json
import re
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from markdown_it import MarkdownIt

from emotalk_ros.corpus.readers.emotional import Voice, VoiceSource
from emotalk_ros.emotions import EMOTIONS
from emotalk_ros.model.ear import EarConfig
from emotalk_ros.training.card_text import fenced, plain
from emotalk_ros.training.ear import Clips, EarRecipe, HeardClip, train_ear
from emotalk_ros.training.ear_card import sources, write_ear
from emotalk_ros.training.ear_voices import Noticing
from emotalk_ros.training.trainer import train

EVIL = "x | y\n\n# Title\n<script>alert(1)</script> [click](javascript:alert(1)) `a` *b* ```"


def rendered(text):
    """As HTML, by a reader of Markdown that lets HTML through."""
    return MarkdownIt("commonmark", {"html": True}).enable("table").render(text.removeprefix("---\n"))


def check_no_markup(page, times):
    """The evil text is there as often as it should be, and as text: no tag, no link, no heading, no column of it."""
    outside = re.sub(r"<code[^>]*>.*?</code>", "", page, flags=re.S)
    assert outside.count("&lt;script&gt;alert(1)&lt;/script&gt; [click](javascript:alert(1)) `a` *b*") == times
    assert "<script" not in page and "<a " not in page and "<em>" not in page
    assert "Title" not in "".join(re.findall(r"<h\d>(.*?)</h\d>", page)[1:])
    for table in re.findall(r"<table>.*?</table>", page, flags=re.S):
        cells = {len(re.findall(r"<t[hd]", row)) for row in re.findall(r"<tr>.*?</tr>", table, flags=re.S)}
        assert len(cells) == 1


def test_text_of_others_is_no_markup():
    assert plain("CC0-1.0") == "CC0-1.0"
    shown = plain(EVIL)
    assert "\n" not in shown and "<" not in shown and ">" not in shown
    assert "\\|" in shown and "\\[click\\]" in shown and "\\`a\\`" in shown and "\\*b\\*" in shown


@pytest.mark.parametrize("text", ["a: 1", "```\n<script>", "````", "`"])
def test_a_block_of_code_ends_where_it_should(text):
    shown = rendered(f"{fenced(text, 'yaml')}\n\nafter it")
    escaped = text.replace("<", "&lt;").replace(">", "&gt;")
    assert shown == f'<pre><code class="language-yaml">{escaped}\n</code></pre>\n<p>after it</p>\n'


def test_the_card_of_a_network_shows_texts_of_corpus_and_recipe_as_they_are(toy_corpus, toy_recipe, tmp_path):
    corpus = shutil.copytree(toy_corpus, tmp_path / "corpus")
    listed = json.loads((corpus / "sources.json").read_text())
    assert [source["name"] for source in listed] == ["toy"]
    listed[0].update(licence=EVIL, attribution=EVIL)
    (corpus / "sources.json").write_text(json.dumps(listed))
    recipe = toy_recipe(
        name=EVIL, description=EVIL, data={"corpora": [str(corpus)]}, optim={"steps": 1, "warmup": 0, "batch_size": 2}
    )
    result = train(recipe, tmp_path / "run")
    check_no_markup(rendered((result.model / "README.md").read_text()), times=4)


def heard(collection, speakers):
    """Two clips of each emotion by each speaker, as an encoder of 12 numbers heard them."""
    rng = np.random.default_rng(speakers)
    directions = 3.0 * np.eye(12)[: len(EMOTIONS)]
    return [
        HeardClip(
            Voice(Path(f"{speaker}-{k}-{take}"), str(speaker), emotion, collection),
            (directions[k] + 0.3 * rng.normal(size=(3, 12))).astype(np.float32),
            np.full(3, 0.5, np.float32),
        )
        for speaker in range(speakers)
        for k, emotion in enumerate(EMOTIONS)
        for take in range(2)
    ]


def test_the_card_of_an_ear_shows_names_and_licences_as_they_are(tmp_path):
    clips = Clips(heard(EVIL, 3) + heard("other", 2))
    config = EarConfig(EVIL, EVIL, layers=(0,), width=12)
    known = {EVIL: VoiceSource(EVIL, EVIL, EVIL, False)}
    config = replace(config, sources=sources(clips, known))
    trained = train_ear(clips, EarRecipe(layers=(0,), ridge=0.01, passes=1, folds=2), config)
    noticing = {EVIL: Noticing(4, 0.5, 3.0, 0.1)}
    write_ear(tmp_path, trained, None, noticing)
    page = rendered((tmp_path / "README.md").read_text())
    # 2 at the top, 3 of the source, 1 of noticing; of two ways of measuring, one of which names it twice: 2 rows each,
    # and the title of a confusion matrix
    check_no_markup(page, times=2 + 3 + 1 + (1 + 2) * (2 + 1))
