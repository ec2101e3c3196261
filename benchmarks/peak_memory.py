"""Peak memory of a benchmark's process, without what its parent held."""

from __future__ import annotations

import re
import resource
import threading
import time
from pathlib import Path


class PeakMemory(threading.Thread):
    """The most anonymous memory of this process, looked at twenty times a second from when this is made.

    Pages of mapped files, which the system takes back when it needs them, are no part of it; and ru_maxrss would begin
    with what this process's parent held when it started it (Linux).
    """

    def __init__(self) -> None:
        super().__init__(daemon=True)
        self._bytes = 0
        self.start()

    def run(self) -> None:
        """Look until the process ends."""
        while True:
            self._look()
            time.sleep(0.05)

    def peak(self) -> int:
        """Bytes of this process, or of its largest child that has ended."""
        self._look()
        return max(self._bytes, resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss * 1024)

    def _look(self) -> None:
        status = Path("/proc/self/status").read_text()
        self._bytes = max(self._bytes, 1024 * int(re.search(r"RssAnon:\s+(\d+) kB", status)[1]))  # type: ignore[index]  # Linux always says it
