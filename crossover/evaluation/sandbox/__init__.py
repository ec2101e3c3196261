"""Runs programs that a language model generated, and reports whether each ran to its end.

Linux only, on x86_64 and aarch64; needs neither root nor user namespaces. A program runs in its own process, which is
restricted to an allow-list of system calls (seccomp) before the program starts: it can compute, import the standard
library and read files; it cannot write or delete files, start or signal processes, trace, or open connections. Resource
limits bound its memory and time; its environment and working folder are empty. Without seccomp no program is run, and
`require_sandbox` raises.

Reading is restricted less. Where the kernel has Landlock (since 5.13, if enabled), only the folders of the standard
library and of the system's libraries are readable. Without Landlock a program can read what the user can read,
including the caller's environment (through /proc), but can neither send nor store it: all that leaves the process is
one line, `Outcome.detail`.
"""

from crossover.evaluation.sandbox.confine_process import landlock_abi
from crossover.evaluation.sandbox.sandbox_runner import Limits, Outcome, require_sandbox, run_program

__all__ = ["Limits", "Outcome", "landlock_abi", "require_sandbox", "run_program"]
