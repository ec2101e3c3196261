"""The command `crossover`.

Exit codes: 0 done, 1 failed, 2 bad input, 130 interrupted. Nothing heavy is imported before a verb is chosen.
"""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Callable, Sequence

from crossover.errors import CrossoverError, StageFailedError

EXTRAS = {"torch": "train", "sqlalchemy": "registry", "kfp": "pipelines", "kserve": "serve", "lm_eval": "eval"}
"""Which extra brings a package that a verb lacks."""
Verb = Callable[[argparse.Namespace], int]


def build_parser() -> argparse.ArgumentParser:
    """The whole command line; a test freezes its verbs and flags."""
    parser = argparse.ArgumentParser(
        prog="crossover",
        description="Should you pretrain an autoregressive (AR) or a masked diffusion (DLM) model on your data?",
        epilog="Start with: crossover run demo",
    )
    parser.add_argument("--version", action="version", version=_version())
    verbs = parser.add_subparsers(dest="verb", required=True, metavar="VERB")
    _add_run(verbs)
    _add_steps(verbs)
    _add_serving(verbs)
    _add_harness(verbs)
    _add_registry(verbs)
    return parser


def _version() -> str:
    from crossover import __version__

    return f"crossover {__version__}"


_Verbs = argparse._SubParsersAction  # the public name of what add_subparsers returns does not exist


def _verb(verbs: "_Verbs[argparse.ArgumentParser]", name: str, text: str, module: str) -> argparse.ArgumentParser:  # noqa: UP037
    parser = verbs.add_parser(name, help=text, description=text)
    parser.set_defaults(module=module, function=name)
    return parser


def _add_curves(analyse: argparse.ArgumentParser) -> None:
    own = analyse.add_argument_group("curves of your own, in place of a study")
    own.add_argument("--curves", metavar="FILE", help="CSV or Parquet: arm, seed, tokens, metric, value")
    own.add_argument("--wide", action="store_true", help="the table has a column for each metric")
    own.add_argument("--plan", metavar="FILE", help="YAML or JSON: the section `analysis` of a study")
    metric = "what to test, the first is primary; may be repeated"
    own.add_argument("--metric", action="append", metavar="NAME:lower|higher:DELTA", help=metric)
    own.add_argument("--baseline", help="arm that is subtracted (default ar)")
    own.add_argument("--candidate", help="arm that it is subtracted from (default dlm)")
    own.add_argument("--tuned", help="tuned arms of the baseline, with commas")
    own.add_argument("--axes", help="tokens, epochs, flops, seconds, with commas (default: those of the file)")
    own.add_argument("--comparisons", help="matched, best-so-far (default: both)")
    own.add_argument("--unique-tokens", type=float, help="tokens of one epoch, for the axis epochs")
    own.add_argument("--alpha", type=float, help="level of the tests (default 0.05)")
    own.add_argument("--early", metavar="LOW:HIGH", help="early window, shares of the log range (default 0:0.4)")
    own.add_argument("--late", metavar="LOW:HIGH", help="late window (default 0.85:1)")
    own.add_argument("--json", action="store_true", help="print the analyses as JSON")


def _add_study(parser: argparse.ArgumentParser, *, optional: bool = False) -> None:
    count = "?" if optional else None
    parser.add_argument(
        "study", metavar="STUDY", nargs=count, help="a study file (YAML) or a preset: demo, factors, map, smoke"
    )
    parser.add_argument("--out", help="workspace: a folder or s3://bucket/prefix (default: studies/<name>)")
    parser.add_argument("--registry", help="SQLAlchemy URL of the registry (default: studies/registry.sqlite)")


def _add_run(verbs: "_Verbs[argparse.ArgumentParser]") -> None:  # noqa: UP037
    run = _verb(verbs, "run", "answer a study through the pipeline, on this machine", "run_command")
    _add_study(run)
    run.add_argument("--promote", choices=("verdict", "always", "never"), default="verdict", help="when to promote")
    run.add_argument("--seeds-per-task", type=int, default=1, help="seeds that one pretraining task trains (default 1)")
    run.add_argument("--rounds", action="store_true", help="in rounds, and no further than the verdicts need")
    run.add_argument("--print-study", action="store_true", help="print the resolved study and stop")
    run.add_argument("--json", action="store_true", help="print the outcome as JSON, no progress")
    next_ = _verb(verbs, "next", "which runs to start next, for the sharpest verdict per hour", "rounds_command")
    _add_study(next_)
    next_.add_argument("--json", action="store_true", help="print as JSON")
    plan = _verb(verbs, "plan", "what a study will cost: parameters, FLOPs, memory, hours, disk, price", "plan_command")
    plan.add_argument("study", metavar="STUDY", help="a study file (YAML) or a preset: demo, factors, map, smoke")
    plan.add_argument("--processes", type=int, default=1, help="devices that train one run together (default 1)")
    plan.add_argument("--measure", action="store_true", help="time a few steps here instead of assuming an MFU")
    plan.add_argument("--json", action="store_true", help="print as JSON")
    compile_ = _verb(verbs, "compile", "write the pipeline as YAML for Kubeflow Pipelines", "run_command")
    compile_.add_argument("--out", default="-", help="file to write (default: standard output)")
    doctor = _verb(verbs, "doctor", "check this machine and the settings", "doctor_command")
    doctor.add_argument("--json", action="store_true", help="print as JSON")


def _add_steps(verbs: "_Verbs[argparse.ArgumentParser]") -> None:  # noqa: UP037
    _add_study(_verb(verbs, "prepare", "step 1: make the dataset", "stage_commands"))
    for name, text in (("pretrain", "step 2: train runs"), ("evaluate", "step 3: measure the runs' checkpoints")):
        step = _verb(verbs, name, text, "stage_commands")
        _add_study(step)
        step.add_argument("--cell", help="only this cell, e.g. u10000-nano")
        step.add_argument("--arm", help="only this arm, e.g. dlm")
        step.add_argument("--seed", type=int, help="only this seed")
    analyse = _verb(
        verbs, "analyse", "step 4: verdicts, report and decision; or on curves of your own", "analyse_command"
    )
    _add_study(analyse, optional=True)
    analyse.add_argument("--promote", choices=("verdict", "always", "never"), default="verdict", help="when to promote")
    _add_curves(analyse)
    _add_study(_verb(verbs, "promote", "step 5: make the winner the served checkpoint", "stage_commands"))


def _add_serving(verbs: "_Verbs[argparse.ArgumentParser]") -> None:  # noqa: UP037
    serve = _verb(
        verbs, "serve", "serve a checkpoint over HTTP (KServe v1 and v2, OpenAI completions)", "serve_command"
    )
    serve.add_argument("place", metavar="PLACE", help="a workspace, or a checkpoint folder")
    serve.add_argument("--arm", help="serve this arm's best checkpoint instead of the promoted one")
    serve.add_argument("--host", default="127.0.0.1", help="address to listen on (default 127.0.0.1)")
    serve.add_argument("--port", type=int, default=8080, help="port; 0 takes a free one (default 8080)")
    serve.add_argument("--try", dest="trial", action="store_true", help="start, complete and infill, show, stop")
    report = _verb(verbs, "report", "where a study's report is, and what it says in short", "report_command")
    report.add_argument("workspace", metavar="WORKSPACE", help="folder of the study")
    report.add_argument("--json", action="store_true", help="print report.json")
    advise = _verb(verbs, "advise", "what to pretrain for a budget, from a finished study", "report_command")
    advise.add_argument("workspace", metavar="WORKSPACE", help="folder of the study")
    advise.add_argument("--unique-tokens", type=float, help="unique tokens to train on (default: those that were run)")
    advise.add_argument("--parameters", type=float, help="parameters that a token uses, as --unique-tokens")
    advise.add_argument("--flops", type=float, help="training FLOPs (default: the most that were run)")
    advise.add_argument("--json", action="store_true", help="print as JSON")


def _add_harness(verbs: "_Verbs[argparse.ArgumentParser]") -> None:  # noqa: UP037
    text = "lm-evaluation-harness, with checkpoints as models: --model crossover --model_args checkpoint=FOLDER"
    # no prefix character: what looks like a flag is the harness's
    harness = verbs.add_parser("lm-eval", help=text, description=text, prefix_chars="\0", add_help=False)
    harness.set_defaults(module="lm_eval_command", function="lm_eval")
    harness.add_argument("arguments", nargs="*", help="as lm-eval takes them")


def _add_registry(verbs: "_Verbs[argparse.ArgumentParser]") -> None:  # noqa: UP037
    registry = verbs.add_parser("registry", help="the SQL registry", description="the SQL registry")
    inner = registry.add_subparsers(dest="registry_verb", required=True, metavar="VERB")
    upgrade = _verb(inner, "upgrade", "migrate the registry to this version", "registry_command")
    query = _verb(inner, "query", "run one SELECT, read-only", "registry_command")
    query.add_argument("sql", metavar="SQL", help='for example "SELECT * FROM v_verdicts"')
    query.add_argument("--json", action="store_true", help="print rows as JSON")
    query.add_argument("--limit", type=int, default=1000, help="most rows to print (default 1000)")
    for parser in (upgrade, query):
        parser.add_argument("--registry", help="SQLAlchemy URL of the registry (default: studies/registry.sqlite)")


def _load(options: argparse.Namespace) -> Verb:
    """The function of the chosen verb, importing its module now."""
    from importlib import import_module

    verb: Verb = getattr(import_module(f"crossover.commands.{options.module}"), options.function)
    return verb


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line; returns the exit code."""
    options = build_parser().parse_args(arguments)
    try:
        return _load(options)(options)
    except StageFailedError as error:
        print(f"crossover: {error}", file=sys.stderr)
        return error.stage_exit_code
    except CrossoverError as error:
        print(f"crossover: {error}", file=sys.stderr)
        return error.exit_code
    except ModuleNotFoundError as error:
        extra = EXTRAS.get(error.name or "")
        if extra is None:
            raise
        print(f"crossover: {error.name} is not installed; run: pip install 'crossover[{extra}]'", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print("crossover: interrupted; run the same command again to go on", file=sys.stderr)
        return 130
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0


if __name__ == "__main__":
    sys.exit(main())
