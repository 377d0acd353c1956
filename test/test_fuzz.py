"""Damaged input of every kind for some seconds; `scripts/fuzz.py` does the same with 100 000 cases."""

import resource
import time

import fuzzing
import pytest
from hypothesis import HealthCheck, Phase, given, seed, settings

EXAMPLES = {
    "audio messages": 150,
    "emotion commands": 100,
    "packets": 150,
    "page controls": 60,
    "sound files": 100,
    "recipes": 25,
    "servo maps": 60,
    "mappings": 60,
    "bags": 40,
    "motion files": 60,
    "manifests": 40,
    "avatars": 10,
    "networks": 15,
}
"""Cases of each target here."""
MEMORY = 600
"""MB by which all of them together may make this process grow."""


@pytest.mark.parametrize("name", EXAMPLES)
def test_damaged_input_is_refused_in_the_readers_own_words(name):
    target = fuzzing.TARGETS[name]
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    healthy = [HealthCheck.too_slow, HealthCheck.data_too_large, HealthCheck.large_base_example]
    phases = [Phase.explicit, Phase.generate, Phase.shrink]

    @seed(0)
    @settings(max_examples=EXAMPLES[name], database=None, deadline=None, suppress_health_check=healthy, phases=phases)
    @given(target.cases)
    def holds(case):
        begin = time.monotonic()
        target.take(case)
        seconds.append(time.monotonic() - begin)

    seconds = []
    holds()
    assert len(seconds) >= EXAMPLES[name] and max(seconds[1:]) < 5.0  # the first one imports
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < MEMORY * 1024


def test_damage_does_damage():
    data = bytes(range(256)) * 4
    for kind in ("flip", "set", "cut", "insert", "double", "drop", "zero", "number"):
        assert fuzzing.damaged(data, [(kind, 1_000_003, b"xyz")]) != data, kind
    tree = {"a": [1, {"b": 2}], "c": "d"}
    assert {repr(fuzzing.changed(tree, [("set", k, None)])) for k in range(5)} == {
        "{'a': None, 'c': 'd'}",
        "{'a': [None, {'b': 2}], 'c': 'd'}",
        "{'a': [1, None], 'c': 'd'}",
        "{'a': [1, {'b': None}], 'c': 'd'}",
        "None",
    }
    assert tree == {"a": [1, {"b": 2}], "c": "d"}
