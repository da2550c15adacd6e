import numpy as np
import pytest

from infogail.rendering import captions
from infogail.rendering.captions import caption, text_width
from infogail.rendering.palette import BACKGROUND, colour
from infogail.runs.driver import CodeLabels

LABELS = CodeLabels.of(range(8), False)


def test_the_bars_of_the_caption_grow_with_the_belief():
    def filled(chances, code):
        return (caption(1120, 7, "", "72 km/h", np.array(chances), LABELS)[:, 735:] == colour(code)).all(-1).sum()

    assert filled([0.0, 1.0], 0) == 0
    assert filled([0.5, 0.5], 0) == pytest.approx(filled([1.0, 0.0], 0) / 2, rel=0.02)
    assert (
        caption(560, 0, "", "32 km/h", np.full(5, 0.2), LABELS).shape[0]
        > caption(560, 0, "", "32 km/h", np.full(2, 0.5), LABELS).shape[0]
    )
    named = CodeLabels.of(range(2), False, ["left", None])
    assert (caption(560, 0, "", "32 km/h", None, LABELS) != caption(560, 0, "", "32 km/h", None, named)).any()
    assert (caption(1120, 0, "passed left", "72 km/h", None, LABELS)[:, 640:] == BACKGROUND).all()


def test_a_long_name_leaves_room_for_the_reading():
    named, reading = CodeLabels.of([0.0, 1.0], True, [None, "a rather long name"]), "128 km/h"
    strip = caption(560, 1, "", reading, None, named)
    left = 308 - text_width(reading, 0.85)
    painted = (strip != BACKGROUND).any(-1).any(0)
    assert not painted[left - 10 : left].any() and painted[left - 40 : left - 10].any()


def test_graded_codes_are_called_by_their_levels(monkeypatch):
    written = []
    monkeypatch.setattr(captions, "write_text", lambda image, text, at, *a, **k: written.append(text) or at[0])
    labels = CodeLabels.of([-1.0, 0.0, 1.0], True, [None, None, "patient"])
    caption(560, 2, "", "", np.array([0.2, 0.3, 0.5]), labels)
    assert written[:2] == ["code +1.00", "patient"]
    assert [text for text in written if text in ("-1.00", "+0.00", "+1.00")] == ["-1.00", "+0.00", "+1.00"]
