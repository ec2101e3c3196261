"""`crossover plan`: what a study will cost, before anything runs."""

from __future__ import annotations

import argparse
import sys

from crossover.commands.command_options import study_of
from crossover.settings import get_settings


def plan(options: argparse.Namespace) -> int:
    """Print the plan as a table or JSON."""
    import torch

    from crossover.training.planner import plan_study

    study, settings = study_of(options), get_settings()
    torch.set_num_threads(settings.step_threads)

    def tell(name: str) -> None:
        if not options.json:
            print(f"planning {name}", file=sys.stderr, flush=True)

    found = plan_study(study, settings, processes=options.processes, measure=options.measure, on_run=tell)
    if options.json:
        print(found.model_dump_json(indent=1))
        return 0
    header = ("run", "parameters", "active", "epochs", "tokens", "steps", "FLOPs", "memory", "disk", "hours")
    rows = [
        (
            f"{run.cell}/{run.arm}",
            f"{run.parameters:,}",
            f"{run.active_parameters:,}",
            f"{run.epochs:g}",
            f"{run.tokens:,}",
            f"{run.steps:,}",
            f"{run.flops:.3g}",
            _size(run.memory_bytes),
            _size(run.disk_bytes),
            _hours(run.device_hours),
        )
        for run in found.runs
    ]
    widths = [max(len(row[i]) for row in (header, *rows)) for i in range(len(header))]
    for name, *cells in (header, *rows):
        print(name.ljust(widths[0]), *(cell.rjust(w) for cell, w in zip(cells, widths[1:], strict=True)), sep="  ")
    print(
        f"\n{len(found.runs)} runs x {found.seeds} seeds: {found.flops:.3g} FLOPs, {_size(found.disk_bytes)} of disk, "
        f"{_hours(found.device_hours)} device-hours ({found.basis}; training only)"
        + (f", price {found.price:,.2f}" if found.price is not None else "")
    )
    if study.training.schedule == "cosine":
        print("warning: under cosine only a run's last point is a budget; its earlier points are not annealed")
    return 0


def _size(amount: float) -> str:
    """Bytes for people."""
    for unit in ("B", "KiB", "MiB", "GiB"):
        if amount < 1024:
            return f"{amount:.4g} {unit}"
        amount /= 1024
    return f"{amount:.4g} TiB"


def _hours(hours: float | None) -> str:
    return "unknown" if hours is None else f"{hours:.3g}"
