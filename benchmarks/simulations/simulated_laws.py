"""Simulated runs whose loss is a planted law with noise: what the fits of `laws` are calibrated on."""

from __future__ import annotations

import numpy as np

from crossover.analysis.across.cross_cell_result import CellFacts, LawForm
from crossover.analysis.across.scaling_law_fits import LawInput
from crossover.analysis.across.scaling_law_forms import POSITIVE, Form, Points, form_of
from crossover.analysis.curves import Curve

GRID = tuple((n, u) for n in (1e6, 4e6, 16e6) for u in (1e6, 4e6, 16e6))
EPOCHS = np.geomspace(0.5, 200, 16)
PLANTED: dict[LawForm, dict[str, float]] = {
    "monotone": {"E": 1.6, "A": 60.0, "α": 0.3, "B": 200.0, "β": 0.3, "R_D*": 20.0},
    "bending": {
        **{"E": 1.6, "A": 60.0, "α": 0.3, "B": 200.0, "β": 0.3},
        **{"κ": 1.2, "γ": 0.6, "e_p": 60.0, "a": 0.4, "b": 0.3},
    },
}


def planted(
    kind: LawForm, *, seed: int = 0, sd: float = 0.004, pairs: int = 5, grid: tuple[tuple[float, float], ...] = GRID
) -> tuple[list[LawInput], dict[str, float]]:
    """Cells of one arm, `ar`, and the constants that were planted.

    Noise is of whole runs and of points, half and half, as a share of the loss.
    """
    rng = np.random.default_rng([seed, len(kind)])
    n_C, u_C = np.array(grid).T
    means = form_of(kind, Points(n_C, u_C, np.ones(n_C.size)))
    full = Form(kind, tuple(PLANTED[kind]), means.mean_n, means.mean_u)
    theta = np.array([np.log(v) if name in POSITIVE else v for name, v in PLANTED[kind].items()])
    cells = []
    for n, u in grid:
        tokens = EPOCHS * u
        at = Points(np.full(tokens.size, n), np.full(tokens.size, u), tokens)
        clean = np.exp(full.log_loss(theta, at))
        curves = []
        for _ in range(pairs):
            noise = sd * (rng.normal() + rng.normal(size=tokens.size)) / np.sqrt(2)
            curves.append(Curve(tokens, clean * np.exp(noise), np.full(tokens.size, np.nan)))
        facts = CellFacts(cell=f"n{n:g}-u{u:g}", unique_tokens=int(u), parameters=int(n))
        cells.append(LawInput(facts, {"ar": curves}))
    return cells, PLANTED[kind]
