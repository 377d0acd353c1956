"""What others wrote stays text in a model card."""

from emotalk_ros.training.card import plain


def test_text_of_others_is_no_markup():
    assert plain("CC0-1.0") == "CC0-1.0"
    evil = "x | y\n# Title\n<script>alert(1)</script> [click](javascript:alert(1)) `a` *b*"
    shown = plain(evil)
    assert "\n" not in shown and "<" not in shown and ">" not in shown
    assert "\\|" in shown and "\\[click\\]" in shown and "\\`a\\`" in shown and "\\*b\\*" in shown
