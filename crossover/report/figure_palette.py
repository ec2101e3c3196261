"""Colours by role, light and dark, and how each arm is drawn: colour, dash, weight.

Figures are drawn in the light colours; each is then replaced by a CSS variable that has the light colour as fallback,
so that one figure serves both modes. The baseline is orange and dashed, the candidate blue and solid, so that they
differ without colour too.
Text colours have a contrast of at least 4.5 to 1 on the page.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

PAGE: Final = ("#ffffff", "#15181c")
"""The page's background, light and dark."""

ROLES: Final[dict[str, tuple[str, str]]] = {
    "ink": ("#1b1f24", "#e8eaed"),
    "soft": ("#596270", "#a4adb9"),
    "grid": ("#e4e7eb", "#2b3036"),
    "line": ("#b9c0c9", "#4b535d"),
    "strip": ("#7a4fa3", "#c3a2e6"),
    "window": ("#8b95a3", "#77818f"),
    "arm1": ("#b04a00", "#f2a35e"),
    "arm2": ("#0062a3", "#6db7f2"),
    "arm3": ("#007a5e", "#4fc9a6"),
    "arm4": ("#a3387f", "#e08fc4"),
    "arm5": ("#6b5f00", "#d3c34a"),
    "arm6": ("#4a5a68", "#aebccb"),
}
"""Role to its light and its dark colour."""

_DASHES: Final[tuple[tuple[int, ...], ...]] = ((6, 3), (1, 0), (2, 2), (8, 2, 2, 2), (4, 4), (10, 4))


def light(role: str) -> str:
    """The colour of a role as figures are drawn in it."""
    return ROLES[role][0]


@dataclass(frozen=True)
class Pen:
    """How one arm is drawn."""

    role: str
    dash: tuple[int, ...]

    @property
    def colour(self) -> str:
        """The colour as the figure is drawn in it."""
        return light(self.role)


def pens(arms: tuple[str, ...], *, baseline: str, candidate: str) -> dict[str, Pen]:
    """A pen for each arm: the first for the baseline, the second for the candidate, the rest in order.

    More than six arms share the last pens; their labels still tell them apart.
    """
    others = [arm for arm in arms if arm not in {baseline, candidate}]
    numbers = {baseline: 1, candidate: 2} | {arm: 3 + i % 4 for i, arm in enumerate(others)}
    return {arm: Pen(role=f"arm{numbers[arm]}", dash=_DASHES[numbers[arm] - 1]) for arm in arms}


def css_variables(mode: int) -> str:
    """Declarations of every role and of the page; mode 0 is light, 1 is dark."""
    declared = [f"--page: {PAGE[mode]};", *(f"--{role}: {pair[mode]};" for role, pair in ROLES.items())]
    return " ".join(declared)
