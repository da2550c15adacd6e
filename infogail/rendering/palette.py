"""Colours of films and diagrams; a code has the same one everywhere."""

from __future__ import annotations

Colour = tuple[int, int, int]
"""Red, green, blue, 0 to 255 each."""

PALETTE = ("#E69F00", "#56B4E9", "#009E73", "#CC79A7", "#D55E00", "#0072B2", "#F0E442")
"""Okabe & Ito's colour-blind-safe palette; code k has colour k."""
GRID, DEMONSTRATION = "#e6e6e6", "#7f7f7f"

BACKGROUND, TRACK, WHITE, DIMMED = (24, 26, 30), (58, 62, 70), (255, 255, 255), (150, 155, 165)
ALARM = (255, 92, 92)
OFF_ROAD = (52, 66, 54)
OTHER_VEHICLE = (225, 225, 225)


def code_colour(code: int) -> str:
    """The colour of `code`, for matplotlib."""
    return PALETTE[code % len(PALETTE)]


def colour(code: int) -> Colour:
    """The colour of `code`, for films."""
    red, green, blue = bytes.fromhex(code_colour(code)[1:])
    return red, green, blue
