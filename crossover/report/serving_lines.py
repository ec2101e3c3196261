"""What serving costs, in sentences: the same in a terminal, on the page and in JSON."""

from __future__ import annotations

from crossover.analysis.arm_labels import arm_label
from crossover.analysis.serving_crossing import Served, ServingComparison, ServingCrossing
from crossover.report import number_formats as fmt

_ONE = "one request at a time"


def serving_lines(serving: ServingComparison | None) -> tuple[str, ...]:
    """Which family serves more, at what quality, for what cost; empty where it was not measured."""
    if serving is None:
        return ()
    ar, dlm = arm_label(serving.baseline.arm), arm_label(serving.candidate.arm)
    return (
        f"{_order(serving, serving.crossing, serving.candidate)} With exact decoding of {dlm}: "
        f"{_order(serving, serving.exact_crossing, serving.exact)}",
        f"Quality by {serving.baseline.metric}: {ar} {fmt.number(serving.baseline.quality)}, {dlm} "
        f"{fmt.number(serving.candidate.quality)}. {dlm} decodes with {_setting(serving.candidate)}, which gives "
        f"{100 * serving.agreement:.3g} % of the tokens that exact decoding gives.",
        _rates(serving),
        *(_cost(serving, concurrency) for concurrency in _places(serving)),
        f"Measured {serving.measured_at} on {serving.device} with {serving.cores:g} cores: prompts of "
        f"{serving.prompt_tokens} held-out tokens, answers of {serving.answer_tokens}, "
        f"{len(serving.baseline.rates[0].tokens_per_second)} repeats.",
    )


def _order(serving: ServingComparison, crossing: ServingCrossing, candidate: Served) -> str:
    """One sentence: who is faster, and where that changes."""
    ar, dlm = arm_label(serving.baseline.arm), arm_label(candidate.arm)
    least, most = (serving.baseline.rates[i].concurrency for i in (0, -1))
    span = f"from {least} to {most} concurrent requests"
    if crossing.outcome in ("baseline", "candidate"):
        return f"{ar if crossing.outcome == 'baseline' else dlm} serves more tokens a second throughout, {span}."
    if crossing.at is None or crossing.low is None or crossing.high is None:
        return f"Neither is clearly faster throughout, nor overtakes once, {span}."
    first, second = (dlm, ar) if crossing.outcome == "baseline overtakes" else (ar, dlm)
    interval = f"95 % interval by the repeats {crossing.low:.3g} to {crossing.high:.3g}"
    place = f"{second} from {crossing.at:.3g} on ({interval})"
    return f"{first} serves more tokens a second at few concurrent requests, {place}."


def _rates(serving: ServingComparison) -> str:
    rows = {arm_label(served.arm): served for served in (serving.baseline, serving.candidate)}
    rows |= {f"{arm_label(serving.exact.arm)} exactly": serving.exact}
    at = ", ".join(str(rate.concurrency) for rate in serving.baseline.rates)
    speeds = (f"{name} {', '.join(_figure(rate.mean) for rate in served.rates)}" for name, served in rows.items())
    waits = (
        f"{name} {' and '.join(_figure(1000 * served.rates[i].first_token_p50) for i in (0, -1))}"
        for name, served in rows.items()
    )
    return (
        f"Tokens/s at {at} concurrent requests: {'; '.join(speeds)}. Median milliseconds to the first token or block "
        f"at the fewest and the most: {'; '.join(waits)}."
    )


def _places(serving: ServingComparison) -> tuple[float, ...]:
    """Concurrencies whose cost is told: the lowest, and the crossing."""
    at = serving.crossing.at
    return (serving.baseline.rates[0].concurrency, *([] if at is None else [at]))


def _cost(serving: ServingComparison, concurrency: float) -> str:
    parts = []
    for served in (serving.baseline, serving.candidate):
        tokens = served.rate_at(concurrency) / serving.cores
        requests = tokens / serving.answer_tokens
        parts.append(f"{arm_label(served.arm)} {_figure(tokens)} tokens/s and {_figure(requests)} requests/s per core")
    where = _ONE if concurrency == 1 else f"{concurrency:.3g} concurrent requests"
    return f"Serving cost at {where}: {', '.join(parts)}."


def _setting(served: Served) -> str:
    return ", ".join(f"{name} {value}" for name, value in served.setting.items())


def _figure(value: float) -> str:
    return f"{value:,.0f}" if value >= 100 else f"{value:.3g}"
