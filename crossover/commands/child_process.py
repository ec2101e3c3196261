"""Verbs of packages that are built on the library run in a process of their own: the library imports none of them."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Mapping


def start(module: str, values: Mapping[str, object]) -> int:
    """Run a module with its options as one argument of JSON, and return its exit code."""
    process = subprocess.Popen([sys.executable, "-m", module, json.dumps(values)])
    while True:
        try:
            return process.wait()
        except KeyboardInterrupt:  # the child has it too, and says what it means
            continue
