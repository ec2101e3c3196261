"""The sequences of `registry_sequences.py`, in a process of their own.

Hypothesis draws constants that it finds in the modules at hand. These grew from one example to the next, as requests
import modules, and it refused with FlakyStrategyDefinition: the sequences draw none of them.
"""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

SEQUENCES = Path(__file__).with_name("registry_sequences.py")


@pytest.mark.parametrize("database", ["sqlite", "postgresql"])
def test_sequences_of_requests_keep_the_contract(database: str) -> None:
    name = f"{SEQUENCES}::test_sequences_of_requests_keep_the_contract[{database}]"
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", name]
    result = subprocess.run(command, cwd=SEQUENCES.parents[2], capture_output=True, text=True, check=False)
    assert result.returncode == 0, result.stdout + result.stderr
    assert "1 passed" in result.stdout
