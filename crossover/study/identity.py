"""The identity of a training run within a study: cell, arm and seed."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Self

from crossover.errors import StudyError

_KEY = re.compile(r"([^/]+)/([^/]+)/seed-(0|[1-9][0-9]*)")


@dataclass(frozen=True)
class RunId:
    """Names a run within a study.

    What the run was trained on and how is in its digest (`crossover.study.study_digests.run_digest`).
    """

    cell: str
    """Name of the grid's cell, e.g. `u10000-nano`."""
    arm: str
    seed: int

    @property
    def key(self) -> str:
        """`<cell>/<arm>/seed-<n>`, e.g. `u10000-nano/ar/seed-0`."""
        return f"{self.cell}/{self.arm}/seed-{self.seed}"

    @classmethod
    def parse(cls, key: str) -> Self:
        """The run that a key names; the inverse of `key`.

        Raises:
            StudyError: the text is not a key.
        """
        match = _KEY.fullmatch(key)
        if match is None:
            raise StudyError(
                "study.bad-run",
                field="run",
                problem=f"{key!r} does not name a run",
                remedy="write <cell>/<arm>/seed-<number>, for example u10000-nano/ar/seed-0",
            )
        cell, arm, seed = match.groups()
        return cls(cell, arm, int(seed))
