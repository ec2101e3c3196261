"""The exact loss beside a bound: does an arm whose loss is below the other's bound win by the chain rule too?"""

from __future__ import annotations

import numpy as np

from crossover.analysis.analysis_plan import AnalysisPlan
from crossover.analysis.contrasts import Contrast
from crossover.analysis.curve_columns import Columns
from crossover.analysis.curves import runs_of
from crossover.analysis.inference.verdict_rules import scale_of
from crossover.analysis.inference.window_tests import window_test
from crossover.analysis.run_coverage import cover
from crossover.analysis.shared_grid import pair_up
from crossover.analysis.upper_bounds import CHAIN_RULE


def chain_rule_agrees(columns: Columns, plan: AnalysisPlan, contrast: Contrast) -> bool:
    """Whether the late winner of a contrast wins by the left-to-right chain rule too, which is exact for both families.

    Args:
        columns: all rows; those of `chain_rule_bpb` are at a few checkpoints, or absent.
        plan: the arms and the level.
        contrast: whose late winner's loss is compared with the other arm's upper bound.
    """
    late = contrast.evidence.late
    if CHAIN_RULE not in columns.metric or late is None or contrast.baseline != plan.baseline:
        return False
    runs = cover(columns, CHAIN_RULE, plan).kept(runs_of(columns, CHAIN_RULE, contrast.axis))
    exact = pair_up(runs, contrast.axis, plan.baseline, plan.candidate)
    if exact is None or len(exact.seeds) < plan.minimum_pairs:
        return False
    late_G = (exact.x_G >= late.low) & (exact.x_G <= late.high)
    if not late_G.any():
        return False
    x_G = np.array([exact.x_G[late_G][0], exact.x_G[-1] * 2])
    difference_SG = np.repeat(exact.difference_SG[:, late_G].mean(axis=1, keepdims=True), 2, axis=1)
    test = window_test(x_G, difference_SG, (0.0, 1.0), scale_of(exact.baseline_SG, exact.candidate_SG))
    if test is None:
        return False
    p = test.p_positive if late.mean > 0 else test.p_negative
    return 2 * p <= contrast.evidence.alpha
