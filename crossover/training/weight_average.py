"""An exponential moving average of the weights (EMA; Polyak & Juditsky 1992), which is measured in their place.

After step s, from 0, the average moves by 1 - min(decay, (1 + s) / (10 + s)) towards the weights, so that it soon
forgets the initial ones; MDLM (arXiv 2406.07524) trains with the same rule. Both arms of a pair have it or neither has.
"""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor

_PREFIX = "average."


class WeightAverage:
    """The average of named parameters, float32, on their device and sharded as they are.

    Args:
        parameters: name to parameter; the same tensors throughout training.
        decay: share of the average that stays in a step, at most.
    """

    def __init__(self, parameters: Mapping[str, Tensor], decay: float) -> None:
        self._parameters, self._decay = parameters, decay
        self.weights = {name: torch.zeros_like(parameter) for name, parameter in parameters.items()}

    def reset(self) -> None:
        """Begin at the weights as they are."""
        with torch.no_grad():
            for name, average in self.weights.items():
                average.copy_(self._parameters[name])

    def update(self, step: int) -> None:
        """Move towards the weights after optimizer step `step`, from 0."""
        kept = min(self._decay, (1 + step) / (10 + step))
        with torch.no_grad():
            for name, average in self.weights.items():
                average.mul_(kept).add_(self._parameters[name], alpha=1.0 - kept)

    def state(self) -> dict[str, Tensor]:
        """The average as tensors of a resume point, not copied, named `average.<parameter>`."""
        return {_PREFIX + name: average for name, average in self.weights.items()}

    def restore(self, tensors: Mapping[str, Tensor]) -> None:
        """Take over what `state` returned from among the tensors of a resume point."""
        with torch.no_grad():
            for name, average in self.weights.items():
                average.copy_(tensors[_PREFIX + name])
