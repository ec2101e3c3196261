"""The numbers of training steps, on their way to a recorder."""

from __future__ import annotations

import torch

from crossover.settings import get_settings
from crossover.training.device_metrics import peak_flops, peak_memory
from crossover.training.distributed import World
from crossover.training.energy_meter import EnergyMeter
from crossover.training.recorder import Progress, Recorder
from crossover.training.train_engine import StepLosses


class StepLog:
    """Records losses and rates of single steps, and speeds since the last recorded one; the leading process records.

    Args:
        recorder: where the numbers go.
        world: the processes that train together.
        device: of this process.
        precision: of the matrix products, for the device's peak.
        tokens_per_step: tokens in a global batch.
        flops_per_step: of all processes together.
    """

    def __init__(
        self,
        recorder: Recorder,
        world: World,
        device: torch.device,
        *,
        precision: str,
        tokens_per_step: int,
        flops_per_step: float,
    ) -> None:
        self.recorder, self.world, self.device = recorder, world, device
        self.tokens_per_step, self.flops_per_step = tokens_per_step, flops_per_step
        self.peak = peak_flops(device, precision, get_settings().peak_tflops) * world.size
        self._energy = EnergyMeter(device, world.local_rank)
        self._steps, self._seconds, self._data_seconds = 0, 0.0, 0.0
        if world.leads and self._energy.note:
            recorder.note(f"energy is not recorded: {self._energy.note}")

    def took(self, seconds: float, data_seconds: float) -> None:
        """Count a step: its seconds, and those of preparing its batch."""
        self._steps += 1
        self._seconds += seconds
        self._data_seconds += data_seconds

    def record(self, at: Progress, losses: StepLosses, *, rate: float, clipped: float) -> None:
        """Record the last step and the speeds since the last call; every process calls it.

        Args:
            at: how far the run is.
            losses: of the step.
            rate: learning rate of the step.
            clipped: share of the steps so far whose gradients were clipped.
        """
        per_second, waited = self._steps / self._seconds, self._data_seconds / self._seconds
        self._steps, self._seconds, self._data_seconds = 0, 0.0, 0.0
        joules = self.world.total(self._energy.joules())
        if not self.world.leads:
            return
        values = {
            "training_loss": losses.nll,
            "gradient_norm": losses.gradient_norm,
            "clipped_steps": clipped,
            "learning_rate": rate,
            "tokens_per_second": per_second * self.tokens_per_step,
            "data_wait": waited,
            "peak_memory_gib": peak_memory(self.device) / 2**30,
            "mfu": per_second * self.flops_per_step / self.peak if self.peak else None,
            "energy_joules": joules,
            **(losses.router or {}),
        }
        for metric, value in values.items():
            if value is not None:
                self.recorder.point(at, metric, value)
