"""torchrun that exits with the status of the process that failed: `python -m crossover.training.run_processes ...`.

torchrun itself exits with 1 whatever ended its processes, so that a caller cannot tell wrong input from a lost device.
"""

from __future__ import annotations

import sys

from torch.distributed.elastic.multiprocessing.errors import ChildFailedError
from torch.distributed.run import parse_args, run

from crossover.errors import UserError


def main(arguments: list[str]) -> int:
    """Run torchrun with these arguments.

    Returns:
        0; 2 where any process was given wrong input, whose end fails the others too; else the status of the first that
        failed, 128 and the number of the signal where one killed it.
    """
    try:
        run(parse_args(arguments))
    except ChildFailedError as error:
        if any(failure.exitcode == UserError.exit_code for failure in error.failures.values()):
            return UserError.exit_code
        _, first = error.get_first_failure()
        return first.exitcode if first.exitcode > 0 else 128 - first.exitcode
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
