"""Runs programs that a language model wrote, and says whether each ran to its very end.

Linux only, on x86_64 and aarch64; needs neither root nor user namespaces. A program runs in a process of its own that
has given up, before the first line of the program, all but the system calls on an allow-list (seccomp): it can compute,
import the standard library and read files, and it cannot write, delete, start, signal, trace or connect anything.
Resource limits bound its memory and time; it has an empty environment and an empty working folder. Without seccomp
nothing is run: `require_sandbox` says why.

Reading is the weaker side. Where the kernel has Landlock (5.13, and switched on), only the folders of the standard
library and of the system's libraries can be read. Without Landlock a program can read whatever the user may read, the
environment of the caller included (through /proc); still it can neither send nor keep it, since all that leaves is one
line of `Outcome.detail`.
"""

from crossover.evaluation.sandbox.confine_process import landlock_abi
from crossover.evaluation.sandbox.sandbox_runner import Limits, Outcome, require_sandbox, run_program, run_programs

__all__ = ["Limits", "Outcome", "landlock_abi", "require_sandbox", "run_program", "run_programs"]
