"""The kinds of messy studies that the method's error rates are measured on, with their parameters."""

from __future__ import annotations

from benchmarks.simulations.messy_curves import (
    DELTA,
    PLAIN,
    QUIET,
    STILL,
    Kind,
    apart,
    decay_gap,
    equal,
    every,
    exponential,
    falling,
    falling_with_decay,
    flat,
    jump,
    knee,
    line,
    logged,
    lognormal,
    no_offsets,
    overfitting,
    ramp,
    rare_bad,
    share,
    steep,
    unlearnt,
    untrained_until,
)
from benchmarks.simulations.messy_faults import (
    begun_late,
    bound_above,
    copied,
    crashed,
    crashing,
    crashing_above,
    diverged,
    half_end,
    last_early,
    missing,
    none_before,
    one_start,
    own_ends,
    own_places,
    resumed,
    rounded,
    same_runs,
    shared_error,
)
from benchmarks.simulations.simulated_curves import Noise

EVERY_50K = (every(5e4), every(5e4))
EIGHT = (logged(8), logged(8))
BOTH_QUIET = (QUIET, QUIET)
BOTH_STILL = (STILL, STILL)


def _noisier(factor: float) -> tuple[Noise, Noise]:
    return PLAIN, Noise("noisier", sd=PLAIN.sd * factor, offset_sd=PLAIN.offset_sd)


BAD_RUNS = "bad runs, where none was drawn"
RANGE = (
    *(
        Kind(
            f"range: one {arm} run resumed {by:+.0f} tokens at {since:.0%} of its points, crossing at 650k",
            jump(0.906),
            tokens=EVERY_50K,
            noise=BOTH_QUIET,
            fault=resumed(by, arm, since),
        )
        for by, arm, since in (
            (-512, "dlm", 0.3),
            (-512, "dlm", 0.6),
            (512, "dlm", 0.6),
            (-512, "ar", 0.55),
            (-4096, "dlm", 0.6),
            (3000, "ar", 0.6),
        )
    ),
    Kind("range: one run resumed -512 tokens, log-spaced, crossing steep", steep(0.6), fault=resumed(-512)),
    Kind("range: one run resumed -512 tokens, equal arms", tokens=EVERY_50K, fault=resumed(-512)),
    Kind(
        "range: last of 8 points 64 tokens early, crossing at 0.9",
        jump(0.9),
        tokens=EIGHT,
        noise=BOTH_QUIET,
        fault=last_early(64),
    ),
    Kind("range: last of 8 points 64 tokens early, equal arms", tokens=EIGHT, fault=last_early(64)),
    *(
        Kind(
            f"range: {'one last value' if not rate else f'{rate:.0%} of values'} NaN of 8 points, crossing at 0.9",
            jump(0.9),
            tokens=EIGHT,
            noise=BOTH_QUIET,
            fault=missing(rate),
        )
        for rate in (0.0, 0.02, 0.04, 0.1)
    ),
    *(
        Kind(f"range: {rate:.0%} of values NaN, {name}", truth, fault=missing(rate))
        for rate in (0.02, 0.1)
        for name, truth in (("equal arms", equal), ("crossing steep", steep(0.6)))
    ),
    *(
        Kind(
            f"range: one {arm} run crashes at {at:g} of the range, crossing steep",
            steep(0.6),
            noise=BOTH_QUIET,
            fault=crashed(at, arm),
        )
        for at, arm in ((0.04, "dlm"), (0.33, "dlm"), (0.6, "ar"), (0.9, "dlm"), (0.97, "dlm"))
    ),
    Kind("range: one run crashes at 0.33, equal arms", fault=crashed(0.33)),
    Kind("range: dlm runs crash in 30 %, equal arms", fault=crashing(0.3, worst=False)),
    Kind(
        "range: dlm runs crash in 30 %, the worst ones, equal arms",
        offsets=(no_offsets, exponential(0.03)),
        fault=crashing(0.3, worst=True),
    ),
    Kind("range: dlm runs crash in 30 %, crossing steep", steep(0.6), fault=crashing(0.3, worst=False)),
    Kind(
        "range: every bad dlm run crashes (one in five, 0.2 worse), equal arms",
        noise=BOTH_QUIET,
        offsets=(no_offsets, rare_bad(0.2, 0.2)),
        fault=crashing_above(3.06),
        unseen=BAD_RUNS,
    ),
    Kind(
        "range: one run lacks points before 0.46, crossing at 0.35",
        steep(0.35),
        noise=BOTH_QUIET,
        fault=begun_late(0.46),
    ),
    Kind(
        "range: one run lacks points before 0.75, crossing at 0.6",
        steep(0.6),
        noise=BOTH_QUIET,
        fault=begun_late(0.75, "ar"),
    ),
)
CADENCES = {
    "30k/100k": (every(3e4, 1e4), every(1e5, 1e4)),
    "10k/25k": (every(1e4), every(2.5e4, 1e4)),
    "log 40/each 50k": (logged(40), every(5e4, 1e4)),
    "log 20/log 27": (logged(20), logged(27)),
}
CADENCE = tuple(
    Kind(f"cadence: {cadence}, steep loss, {name}", truth, level=falling, tokens=tokens, noise=BOTH_QUIET)
    for cadence, tokens in CADENCES.items()
    for name, truth in (("equal arms", equal), ("dlm better by delta", apart(-DELTA)), ("crossing", steep(0.6)))
)
COPIES = tuple(
    Kind(f"copies: {name}, {truth_name}", truth, fault=fault, refused=True)
    for name, fault in (
        ("all dlm runs", copied("dlm")),
        ("all ar runs", copied("ar")),
        ("two dlm runs", copied("dlm", 2)),
        ("two ar runs", copied("ar", 2)),
        ("all dlm runs, half of the points", copied("dlm", until=0.5)),
        ("two dlm runs, 70 % of the points", copied("dlm", 2, until=0.7)),
        ("all dlm runs, but for 1e-7", copied("dlm", jitter=1e-7)),
    )
    for truth_name, truth in (("equal arms", equal), ("crossing", steep(0.6)))
)
BEST = tuple(
    Kind(f"best so far: {how}, {curve}", truth, level=level, tokens=tokens, noise=noise, comparison="best-so-far")
    for curve, level, truth in (
        ("flat, equal", lambda x: 3 + 0 * x, equal),
        ("falling, equal", falling, equal),
        ("overfitting, equal", overfitting, equal),
        ("flat, dlm worse early", lambda x: 3 + 0 * x, lambda x: 0.06 * (x < 1e5)),
        ("falling, crossing", falling, steep(0.6)),
    )
    for how, tokens, noise in (
        ("equal noise", (logged(), logged()), (PLAIN, PLAIN)),
        ("dlm noise × 2", (logged(), logged()), _noisier(2)),
        ("dlm noise × 5", (logged(), logged()), _noisier(5)),
        ("ar noise × 3", (logged(), logged()), _noisier(3)[::-1]),
        ("dlm each 10k, ar each 50k", (every(5e4, 1e4), every(1e4)), (PLAIN, PLAIN)),
        ("dlm noise × 3, each 10k, ar each 50k", (every(5e4, 1e4), every(1e4)), _noisier(3)),
    )
)
PLACE = tuple(
    Kind(f"place: {name}, {points} points", truth, tokens=(logged(points), logged(points)))
    for name, truth in (
        ("knee at 0.62", knee(0.62)),
        ("knee at 0.62, from fast to slow", knee(0.62, 2.0, 0.2)),
        ("jump at 0.55", jump(0.55)),
        ("large and bent", lambda x: 0.5 - 16 * ((share(x) - 0.45).clip(0)) ** 1.5),
    )
    for points in (4, 8, 40, 200)
)
WINDOWS = (
    *(
        Kind(f"windows: crossing at {at:g}, {name}", shape(at), noise=BOTH_QUIET)
        for at in (0.05, 0.1, 0.2, 0.3, 0.82, 0.9, 0.95, 0.97)
        for name, shape in (("jump", jump), ("ramp", ramp), ("line", line))
    ),
    *(
        Kind(f"windows: crossing at {at:g}, jump, 8 points", jump(at), noise=BOTH_QUIET, tokens=EIGHT)
        for at in (0.1, 0.9, 0.95)
    ),
)
UNTRAINED = (
    *(
        Kind(
            f"untrained: from {first:g} tokens, equal until 10k, crossing at 150k",
            untrained_until(1e4, jump(0.588)),
            tokens=(logged(40, first), logged(40, first)),
            noise=BOTH_QUIET,
        )
        for first in (100.0, 1000.0)
    ),
    *(
        Kind(
            f"untrained: without noise until {until:g} tokens, {name}",
            untrained_until(until, truth),
            tokens=(logged(40, 100.0), logged(40, 100.0)),
            noise=BOTH_QUIET,
            fault=none_before(until),
        )
        for until in (1e3, 1e4)
        for name, truth in (("crossing at 150k", jump(0.588)), ("equal arms", equal))
    ),
    *(
        Kind(
            f"untrained: ln 259 until 5000 tokens, {name}",
            untrained_until(5e3, truth),
            level=unlearnt(5e3),
            tokens=(logged(40, 100.0), logged(40, 100.0)),
            noise=BOTH_QUIET,
            fault=none_before(5e3),
        )
        for name, truth in (("crossing at 150k", jump(0.588)), ("dlm better", apart(-0.05)), ("equal arms", equal))
    ),
)
SEEDS = (
    *(
        Kind(
            f"seeds: {name}, {arms}, equal means",
            noise=BOTH_STILL,
            offsets=(offsets if arms != "dlm" else no_offsets, offsets if arms != "ar" else no_offsets),
        )
        for name, offsets in (
            ("lognormal × 0.02", lognormal(0.02)),
            ("lognormal × 0.1", lognormal(0.1)),
            ("exponential × 0.03", exponential(0.03)),
            ("exponential × 0.2", exponential(0.2)),
        )
        for arms in ("dlm", "ar", "both")
    ),
    *(
        Kind(
            f"seeds: bad run in {p:.0%}, {worse:g} worse, {arm}, equal means",
            noise=BOTH_STILL,
            offsets=(
                rare_bad(p, worse) if arm == "ar" else no_offsets,
                rare_bad(p, worse) if arm == "dlm" else no_offsets,
            ),
            unseen=BAD_RUNS,
        )
        for p, worse in ((0.1, 0.1), (0.1, 0.3), (0.15, 0.17), (0.15, 0.5))
        for arm in ("dlm", "ar")
    ),
    Kind(
        "seeds: bad run in 15 %, dlm worse early, equal late",
        line(1.0, 0.085),
        noise=BOTH_STILL,
        offsets=(no_offsets, rare_bad(0.15, 0.167)),
        unseen=BAD_RUNS,
    ),
    Kind(
        "seeds: bad run in 10 %, the mean 1.5 delta worse",
        apart(1.5 * DELTA),
        noise=BOTH_STILL,
        offsets=(no_offsets, rare_bad(0.1, 0.3)),
        unseen=BAD_RUNS,
    ),
)
WORDS = (
    *(
        Kind(f"words: true difference {by / DELTA:+g} delta, noise {noise.name}", apart(by), noise=(noise, noise))
        for by in (DELTA / 2, -DELTA / 2)
        for noise in (STILL, QUIET, PLAIN)
    ),
    Kind("words: a bound 0.05 above, equal likelihoods", noise=BOTH_QUIET, fault=bound_above(0.05), exact=None),
    Kind(
        "words: a bound 0.05 above, dlm better by 0.03",
        apart(-0.03),
        noise=BOTH_QUIET,
        fault=bound_above(0.05),
        exact=None,
    ),
    *(
        Kind(
            f"words: Monte Carlo error {sd:g} of all dlm runs, {'given' if told else 'not given'}, equal arms",
            noise=BOTH_QUIET,
            fault=shared_error(sd, told=told),
            exact=None,
            unseen="" if told else "the Monte Carlo error",
        )
        for sd in (0.02, 0.05)
        for told in (True, False)
    ),
    *(
        Kind(
            f"words: decay ends at {ar:g} (ar) and {dlm:g} (dlm) tokens, else equal",
            decay_gap(ar, dlm),
            level=falling_with_decay(ar),
            noise=BOTH_QUIET,
        )
        for ar, dlm in ((5e5, 1e6), (1e6, 5e5), (1e6, 2e6))
    ),
)
FURTHER = (
    *(
        Kind(f"range: {what}, {name}", truth, level=level, noise=BOTH_QUIET, fault=fault)
        for what, level, fault in (
            ("every run measured at its own places, 2 % off", flat, own_places(0.02)),
            ("every run measured at its own places, 2 % off, steep loss", falling, own_places(0.02)),
            ("every run ends at its own place, up to 10 % earlier", flat, own_ends(0.1)),
            ("every second dlm run stopped at 0.7", flat, half_end(0.7)),
            ("one dlm run diverges at 0.7 by 2", flat, diverged(0.7, 2.0)),
        )
        for name, truth in (("equal arms", equal), ("crossing steep", steep(0.6)))
        if "diverges" not in what or truth is equal
    ),
    Kind("copies: none, but values have two digits, crossing", steep(0.6), fault=rounded(0.01)),
    Kind("copies: none, but values have two digits, equal arms", fault=rounded(0.01)),
    Kind("copies: none, but first values are equal, crossing", steep(0.6), fault=one_start()),
    Kind("copies: both arms are the same runs", fault=same_runs(), refused=True),
    Kind("copies: both arms are the same runs, but for 1e-6", fault=same_runs(1e-6), refused=True),
)
KINDS = (*RANGE, *CADENCE, *COPIES, *BEST, *PLACE, *WINDOWS, *UNTRAINED, *SEEDS, *WORDS, *FURTHER)
