"""Figures draw texts as they are, not as mathematics; what no font draws is said."""

import logging

import pandas as pd
import pytest
from matplotlib import style
from PIL import Image

from unike_lib.reporting.plotting import STYLE, make_panels, save_figure
from unike_lib.reporting.qualitative import BEFORE, Answer, Asked, Example, write_qualitative_page
from unike_lib.reporting.qualitative_figure import draw_qualitative
from unike_lib.types import PROBE_KINDS

STRANGE = "$\\frac{$ is <b>not</b> $5, $x$"


def drawn(path, text):
    with style.context(STYLE, after_reset=True):
        figure, [[panel]] = make_panels(1, 1, True)
        panel.set_title(text)
        save_figure(figure, pd.DataFrame(), {"png": path})
    return panel.title


def test_dollar_signs_are_no_mathematics(tmp_path):
    """A title with pairs of them is as wide as with another sign of that width in their place."""
    widths = [drawn(tmp_path / "a.png", text).get_window_extent().width for text in ("$xx$ $yy$", "5xx5 5yy5")]
    assert widths[0] == pytest.approx(widths[1], abs=1)
    drawn(tmp_path / "b.png", STRANGE)


def test_characters_that_no_font_draws_are_named_once(tmp_path, caplog, recwarn):
    with caplog.at_level(logging.WARNING):
        title = drawn(tmp_path / "a.png", "né \u2212\u2028שלום 猫と猫 \U0001f989\x1c")
    (line,) = [each.getMessage() for each in caplog.records]
    assert "a.png: no font here draws と (U+3068), 猫 (U+732B), \U0001f989 (U+1F989): boxes" in line
    assert title.get_text() == "né \u2212 שלום 猫と猫 \U0001f989 " and not [
        w for w in recwarn if "Glyph" in str(w.message)
    ]
    caplog.clear()
    drawn(tmp_path / "b.png", "plain\ntext, Ωmega, 5 ± 2, → ✓")
    assert not caplog.records


def test_examples_show_any_text(tmp_path, caplog):
    texts = [STRANGE, "a\u2028b\u0085c", "猫は何色？", "שלום", "\x00"]
    asked = tuple(
        Asked(kind, "a.png", text, text, {BEFORE: Answer(text, None), "unike": Answer(text, True)})
        for kind, text in zip(PROBE_KINDS, texts, strict=True)
    )
    examples, load = [Example("left", "vqa", "vqa-0", asked)], lambda name: Image.new("RGB", (4, 4))
    draw_qualitative(examples, load, tmp_path / "a.png")
    assert "猫 (U+732B)" in caplog.text
    write_qualitative_page(examples, load, tmp_path / "a.html")
    page = (tmp_path / "a.html").read_text(encoding="utf-8")
    assert "$\\frac{$ is &lt;b&gt;not&lt;/b&gt; $5" in page and all(text in page for text in texts[1:4])
    assert "\x00" not in page and "\ufffd" in page
