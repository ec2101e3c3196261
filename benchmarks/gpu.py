"""One GPU, checked and measured by one command, in under ten minutes on an H100.

    python -m benchmarks.gpu                    all parts
    python -m benchmarks.gpu --only throughput  one or some of them
    python -m benchmarks.gpu --device cpu       a rehearsal of the checks and the tables with tiny models

Checks (`benchmarks.gpu_checks`): losses and gradient norms against the CPU's in fp32 and bf16, compilations over twenty
steps, a run that is killed and resumed, likelihoods and completions. Measures: several seeds as one stacked model, and
a training step of `1b` and `coder-1.7b` at sequence 2048 in bf16: tokens per second, MFU and peak memory, beside the
plan's estimate and a transformers Llama of the same shape. Prints Markdown; a part that fails does not stop the others.
"""

from __future__ import annotations

import argparse
import importlib.metadata
import platform
import subprocess
import sys
import time
import traceback
from collections.abc import Callable

import torch

from benchmarks.gpu_checks import check_evaluation, check_losses, check_resume, cleared
from benchmarks.training_throughput import Shape, measured_in_child, training_config
from crossover.model.model_presets import preset
from crossover.settings import available_cores, get_settings
from crossover.study.arms import ARMS
from crossover.training.device_metrics import peak_flops
from crossover.training.memory_estimate import step_memory

SIZES = {
    "cuda": {"batch": 64, "length": 2048, "vocab": 50304, "precision": "bf16", "warm": 2, "timed": 4},
    "cpu": {"batch": 4, "length": 64, "vocab": 259, "precision": "bf16", "warm": 1, "timed": 1},
}
MICROBATCHES = {"cuda": {"1b": 8, "coder-1.7b": 4}, "cpu": {"pico": 2}}


def main() -> int:
    """Run the parts; 1 if a check failed or a part did not end."""
    parts: dict[str, Callable[[str], list[str]]] = {
        "losses": check_losses,
        "resume": check_resume,
        "evaluation": check_evaluation,
        "stacking": measure_stacking,
        "throughput": measure_throughput,
    }
    parser = argparse.ArgumentParser(prog="python -m benchmarks.gpu")
    parser.add_argument("--device", choices=("cuda", "cpu"), default="cuda")
    parser.add_argument("--only", nargs="+", choices=tuple(parts), default=tuple(parts))
    options = parser.parse_args()
    if options.device == "cuda" and not torch.cuda.is_available():
        print("no CUDA device here: nothing is checked")
        return 1
    torch.set_num_threads(get_settings().threads or available_cores())
    print(machine())
    faults: list[str] = []
    for name in options.only:
        began = time.perf_counter()
        print(f"\n## {name}\n")
        try:
            found = cleared(parts[name], options.device)
        except Exception:
            found = [f"{name} did not end:\n{traceback.format_exc()}"]
        print(f"\n{name}: {time.perf_counter() - began:.0f} s, {len(found)} faults", *found, sep="\n", flush=True)
        faults += found
    print(f"\n{len(faults)} faults" if faults else "\nall checks passed")
    return 1 if faults else 0


def machine() -> str:
    """Card, driver and versions, or the processor."""
    versions = f"torch {torch.__version__}, transformers {importlib.metadata.version('transformers')}"
    if not torch.cuda.is_available():
        return f"{available_cores()} cores, {platform.machine()}, Python {platform.python_version()}, {versions}"
    query = ["nvidia-smi", "--query-gpu=driver_version", "--format=csv,noheader"]
    driver = subprocess.run(query, check=True, capture_output=True, text=True).stdout.split()[0]
    return (
        f"{torch.cuda.get_device_name()}, driver {driver}, CUDA {torch.version.cuda}, "
        f"{available_cores()} cores, Python {platform.python_version()}, {versions}"
    )


def measure_stacking(device: str) -> list[str]:
    """Print the table of `benchmarks.seed_stacking`."""
    command = [sys.executable, "-W", "ignore", "-m", "benchmarks.seed_stacking", "--device", device]
    done = subprocess.run(command, check=False, capture_output=True, text=True)
    print(done.stdout)
    return [f"seed stacking: {done.stderr}"] if done.returncode else []


def measure_throughput(device: str) -> list[str]:
    """Print the table of training steps; a case that fails is a fault."""
    faults = []
    print("| model | step | microbatch | tokens/s | MFU | peak memory, GiB | planned | step, s | planned |")
    print("|---|---|---|---|---|---|---|---|---|")
    for model, microbatch in MICROBATCHES[device].items():
        shape: Shape = SIZES[device] | {"model": model, "microbatch": microbatch, "device": device}
        for kind in ({"arm": "ar"}, {"arm": "dlm"}, {"peer": "llama"}):
            case = shape | kind | {"compile": True}
            name = f"crossover {kind['arm']}" if "arm" in kind else "transformers Llama"
            try:
                measured = measured_in_child(case)
            except subprocess.CalledProcessError as error:
                faults.append(f"{model}, {name}: {error.stderr[-3000:]}")
                continue
            memory, seconds = planned(case, measured["flops"]) if "arm" in kind else ("", "")
            print(
                f"| {model} | {name} | {microbatch} | {measured['tokens_per_second']:,.0f} | {measured['mfu']:.3f} | "
                f"{measured['peak_gib']:.1f} | {memory} | {measured['seconds']:.3f} | {seconds} |",
                flush=True,
            )
    return faults


def planned(case: Shape, flops: float) -> tuple[str, str]:
    """What `crossover plan` says of a case without measuring: GiB, and seconds of a step at the assumed MFU."""
    shape = preset(case["model"], vocab_size=case["vocab"], max_length=case["length"])
    memory = step_memory(training_config(case), shape, ARMS[case["arm"]], length=case["length"])
    peak = peak_flops(torch.device(case["device"]), case["precision"], get_settings().peak_tflops)
    seconds = f"{flops / peak / get_settings().planned_mfu:.3f}" if peak else "unknown"
    return f"{memory.peak / 2**30:.1f}", seconds


if __name__ == "__main__":
    sys.exit(main())
