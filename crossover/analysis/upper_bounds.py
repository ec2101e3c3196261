"""Whose values of a metric are an upper bound of the loss: a masked diffusion model reports the NELBO, AR is exact.

A gap to a bound from below proves nothing of the loss behind it: the bound may be loose. A gap from above does.
"""

from __future__ import annotations

import re

from crossover.analysis.analysis_plan import AnalysisPlan, MetricPlan
from crossover.metric_catalogue import is_known, metric_of

CHAIN_RULE = "chain_rule_bpb"
"""The exact loss of the left-to-right order, for both families."""
_LOSS = re.compile(r"loss|nll|nats|bpb|bits|perplexity|ppl|elbo|entropy|xent|likelihood", re.IGNORECASE)
_DIFFUSION = re.compile(r"(^|[-_])(dlm|m?dlm|bd|llada|sedd|diffusion|masked)([-_]|$)", re.IGNORECASE)


def upper_bound_arm(metric: MetricPlan, plan: AnalysisPlan) -> str:
    """The arm of the plan whose values of a metric are an upper bound; empty when both are exact, or both bounds.

    Args:
        metric: known metrics say how they are estimated; of others a loss by its name is taken as a bound, unless
            `exact` is set.
        plan: its candidate is looked at first.
    """
    if is_known(metric.name):
        bound = metric.direction == "lower" and metric_of(metric.name).by_likelihood
    else:
        bound = metric.direction == "lower" and bool(_LOSS.search(metric.name))
    if metric.exact or not bound:
        return ""
    bounded = [arm for arm in (plan.candidate, plan.baseline) if _DIFFUSION.search(arm)]
    return bounded[0] if len(bounded) == 1 else ""
