"""The command `crossover`: its verbs and flags. Nothing heavy is imported before a verb is chosen.

Exit codes: 0 done, 1 failed, 2 wrong input, 130 interrupted (Ctrl-C), 143 terminated (SIGTERM).
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable, Sequence

from crossover import __version__
from crossover.commands.serving_flags import add_measurement_flags, add_server_flags
from crossover.extras import install_hint, missing_module
from crossover.failures import exit_code_of
from crossover.termination import terminable

Verb = Callable[[argparse.Namespace], int]
_Verbs = argparse._SubParsersAction  # the type of what add_subparsers returns has no public name

STUDY_HELP = "a study file (YAML), a folder that `crossover run` made, or a preset: 30m-bpe, demo, factors, map, smoke"


def build_parser() -> argparse.ArgumentParser:
    """The parser of the command line; a test freezes its verbs and flags."""
    parser = argparse.ArgumentParser(
        prog="crossover",
        description="Should you pretrain an autoregressive (AR) or a masked diffusion (DLM) model on your data?",
        epilog="Start with: crossover run demo",
    )
    parser.add_argument("--version", action="version", version=f"crossover {__version__}")
    verbs = parser.add_subparsers(dest="verb", required=True, metavar="VERB")
    _add_init(verbs)
    _add_study_verbs(verbs)
    _add_stage_verbs(verbs)
    _add_result_verbs(verbs)
    _add_import(verbs)
    _add_lm_eval(verbs)
    _add_pipelines(verbs)
    _add_registry(verbs)
    return parser


def _verb(
    verbs: "_Verbs[argparse.ArgumentParser]",  # noqa: UP037  # the class is generic for type checkers alone
    name: str,
    text: str,
    module: str,
    *extras: str,
) -> argparse.ArgumentParser:
    """Add a verb.

    Args:
        verbs: where to add it.
        name: of the verb, and of its function in the module.
        text: its help.
        module: file in crossover/commands.
        extras: optional dependencies that it needs (see crossover/extras.py); checked before it starts.
    """
    parser = verbs.add_parser(name, help=text, description=text)
    parser.set_defaults(module=module, function=name, extras=extras)
    return parser


def _add_curves(analyse: argparse.ArgumentParser) -> None:
    group = analyse.add_argument_group("analysis of a file of curves, in place of a study")
    group.add_argument("--curves", metavar="FILE", help="CSV or Parquet with columns arm, seed, tokens, metric, value")
    _add_table_flags(group)
    text = "of the curves; for a finished study, another than its own: the verdicts are made anew, marked as unplanned"
    _add_plan(analyse, text)
    analyse.add_argument("--json", action="store_true", help="print the analyses as JSON")


def _add_table_flags(group: argparse._ArgumentGroup) -> None:
    group.add_argument("--wide", action="store_true", help="the file has one column per metric")
    group.add_argument("--unique-tokens", type=float, help="tokens in one epoch, for the axis epochs")


def _add_plan(parser: argparse.ArgumentParser, text: str) -> None:
    group = parser.add_argument_group("analysis plan", text)
    group.add_argument("--plan", metavar="FILE", help="analysis plan, YAML or JSON: the section `analysis` of a study")
    metric = "metric to test: name, better direction, smallest difference that matters; repeatable, first is primary; "
    metric += "a DLM's loss is taken as an upper bound unless :exact follows"
    group.add_argument("--metric", action="append", metavar="NAME:lower|higher:DELTA[:exact]", help=metric)
    group.add_argument("--baseline", help="baseline arm (default ar)")
    group.add_argument("--candidate", help="candidate arm; differences are candidate minus baseline (default dlm)")
    group.add_argument("--tuned", help="comma-separated tuned variants of the baseline arm")
    group.add_argument("--axes", help="comma-separated: tokens, epochs, flops, seconds (default: those in the file)")
    group.add_argument("--comparisons", help="comma-separated: matched, best-so-far (default: both)")
    group.add_argument("--alpha", type=float, help="significance level (default 0.05)")
    group.add_argument("--early", metavar="LOW:HIGH", help="early window, fractions of the log range (default 0:0.4)")
    group.add_argument("--late", metavar="LOW:HIGH", help="late window (default 0.85:1)")


def _add_study(parser: argparse.ArgumentParser, *, optional: bool = False) -> None:
    """The arguments of verbs that work on a study."""
    count = "?" if optional else None
    parser.add_argument("study", metavar="STUDY", nargs=count, help=STUDY_HELP)
    _add_workspace(parser)
    _add_registry_url(parser)


def _add_workspace(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--out", help="workspace: a folder or s3://bucket/prefix (default: studies/<name>)")


def _add_registry_url(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--registry",
        metavar="URL",
        help="http(s) URL of the registry's service, or SQLAlchemy URL (default: $CROSSOVER_REGISTRY_URL, else "
        "studies/registry.sqlite); set a URL with a password by the variable, which other users here cannot read",
    )


def _add_init(verbs: "_Verbs[argparse.ArgumentParser]") -> None:  # noqa: UP037  # the class is generic for type checkers alone
    text = "propose a study for a corpus: a ladder of budgets and a model that fit into some hours on this machine"
    init = _verb(verbs, "init", text, "init_command", "train", "registry")
    corpus = "a file, a folder, a glob pattern, or a source of a study such as jsonl:corpus/*.jsonl.gz"
    init.add_argument("corpus", metavar="CORPUS", help=corpus)
    init.add_argument("--hours", type=float, default=8.0, help="of waiting, evaluation included (default 8)")
    init.add_argument("--out", metavar="FILE", help="the study's file (default: NAME.yaml)")
    init.add_argument("--name", help="of the study (default: that of the corpus)")
    init.add_argument("--model", action="append", default=[], help="model size; repeatable (default: chosen)")
    init.add_argument("--epochs", type=float, default=100.0, help="passes over each budget (default 100)")
    init.add_argument("--seeds", type=int, default=5, help="pairs of runs in a cell (default 5)")
    text = "field of JSON lines that holds the document (default: text, or the longest of the first line)"
    init.add_argument("--text-field", default="", help=text)
    text = "text between the documents of a file (default: a usual one, where there are few documents)"
    init.add_argument("--separator", default="", help=text)


def _add_study_verbs(verbs: "_Verbs[argparse.ArgumentParser]") -> None:  # noqa: UP037  # the class is generic for type checkers alone
    text = "run the pipeline of a study on this machine, to its verdict"
    run = _verb(verbs, "run", text, "run_command", "train", "registry", "pipelines")
    _add_study(run)
    run.add_argument("--promote", choices=("verdict", "always", "never"), default="verdict", help="when to promote")
    text = "seeds that one pretraining task trains (default: two tasks for each stage that runs at once)"
    run.add_argument("--seeds-per-task", type=int, help=text)
    run.add_argument("--rounds", action="store_true", help="train seeds in rounds; stop when the verdicts are settled")
    run.add_argument("--print-study", action="store_true", help="print the study with all defaults, then stop")
    run.add_argument("--json", action="store_true", help="print the result as JSON, without progress")
    text = "print the runs of the next round: those that sharpen the verdicts most per hour"
    next_ = _verb(verbs, "next", text, "rounds_command", "train", "registry")
    _add_study(next_)
    next_.add_argument("--json", action="store_true", help="print as JSON")
    text = "estimate the cost of a study: parameters, FLOPs, memory, hours, disk, price"
    plan = _verb(verbs, "plan", text, "plan_command", "train", "registry")
    plan.add_argument("study", metavar="STUDY", help=STUDY_HELP)
    _add_workspace(plan)
    for flag, text in (("--processes", "devices that train one run together"), ("--nodes", "their machines")):
        plan.add_argument(flag, type=int, default=1, help=f"{text} (default 1)")
    text = "time some steps on this machine, do not assume an MFU (default: where no peak of the device is known)"
    plan.add_argument("--measure", action=argparse.BooleanOptionalAction, help=text)
    plan.add_argument("--json", action="store_true", help="print as JSON")
    text = "let the compared arms choose among the learning rates of a study's section `tuning`"
    tune = _verb(verbs, "tune", text, "tune_command", "train", "registry")
    _add_study(tune)
    tune.add_argument("--write", metavar="FILE", help="write the study with the results")
    doctor = _verb(verbs, "doctor", "check this machine and print the settings", "doctor_command")
    doctor.add_argument("--json", action="store_true", help="print as JSON")


def _add_pipelines(verbs: "_Verbs[argparse.ArgumentParser]") -> None:  # noqa: UP037  # the class is generic for type checkers alone
    text = "compile the pipeline to YAML for Kubeflow Pipelines"
    compile_ = _verb(verbs, "compile", text, "pipelines_command", "pipelines")
    compile_.add_argument("--out", default="-", help="output file (default: standard output)")
    text = "upload the pipeline to Kubeflow Pipelines, unless this version is there"
    upload = _verb(verbs, "upload", text, "pipelines_command", "pipelines")
    text = "start a study in Kubeflow Pipelines, unless it runs there already, and follow it"
    submit = _verb(verbs, "submit", text, "pipelines_command", "registry", "pipelines")
    _add_study(submit)
    submit.add_argument("--endpoint", help="InferenceService that serves the winner (default: the profile's)")
    submit.add_argument("--promote", choices=("verdict", "always", "never"), default="verdict", help="when to promote")
    submit.add_argument("--seeds-per-task", type=int, default=1, help="seeds that one pod trains (default 1)")
    submit.add_argument("--data-shards", type=int, default=1, help="pods that read the corpus (default 1)")
    submit.add_argument("--runs", help="runs of one round, as `crossover next` prints them (default: all)")
    submit.add_argument("--experiment", help="that the run belongs to (default: crossover)")
    submit.add_argument("--no-follow", dest="follow", action="store_false", help="start the run and return")
    for verb in (compile_, upload, submit):
        verb.add_argument("--profile", metavar="FILE", help="what pods get of the cluster: docs/pipelines.md")
    for verb in (upload, submit):
        verb.add_argument("--host", metavar="URL", help="of Kubeflow Pipelines (default: $CROSSOVER_KFP_HOST)")
        verb.add_argument("--namespace", help="where Kubeflow has many users: the namespace of the runs")
        verb.add_argument("--token-file", metavar="FILE", help="bearer token (default: $CROSSOVER_KFP_TOKEN_FILE)")


def _add_stage_verbs(verbs: "_Verbs[argparse.ArgumentParser]") -> None:  # noqa: UP037  # the class is generic for type checkers alone
    extras = ("train", "registry")
    prepare = _verb(verbs, "prepare", "stage 1 of the pipeline: prepare the dataset", "stage_commands", *extras)
    _add_study(prepare)
    text = "only read this part of the corpus, such as 3/16, for a `prepare` that merges all"
    prepare.add_argument("--shard", metavar="I/N", help=text)
    for name, text in (
        ("pretrain", "stage 2 of the pipeline: train runs"),
        ("evaluate", "stage 3 of the pipeline: evaluate checkpoints"),
    ):
        stage = _verb(verbs, name, text, "stage_commands", *extras)
        _add_study(stage)
        stage.add_argument("--cell", help="only runs of this cell, such as u10000-nano")
        stage.add_argument("--arm", help="only runs of this arm, such as dlm")
        stage.add_argument("--seed", type=int, help="only runs of this seed")
    text = "stage 4 of the pipeline: verdicts, report, decision; also under another plan, or of a file of curves"
    analyse = _verb(verbs, "analyse", text, "analyse_command", *extras)
    _add_study(analyse, optional=True)
    analyse.add_argument("--promote", choices=("verdict", "always", "never"), default="verdict", help="when to promote")
    _add_curves(analyse)
    text = "stage 5 of the pipeline: make the selected checkpoint the served one"
    promote = _verb(verbs, "promote", text, "stage_commands", *extras)
    _add_study(promote)
    _add_kubernetes(promote)
    text = "let an InferenceService of KServe serve again what it served before, by the registry's record"
    rollback = _verb(verbs, "rollback", text, "stage_commands", "registry", "cluster")
    rollback.add_argument("study", metavar="STUDY", nargs="?", help=STUDY_HELP + " (default: that of the endpoint)")
    _add_registry_url(rollback)
    _add_endpoint(rollback)


def _add_endpoint(group: argparse._ActionsContainer) -> None:
    group.add_argument("--namespace", help="of the InferenceService (default: the kubeconfig context's, or the pod's)")
    group.add_argument("--endpoint", metavar="NAME", help="of the InferenceService (default: made of the study's name)")
    group.add_argument("--force-conflicts", action="store_true", help="take fields that another field manager has set")


def _add_kubernetes(promote: argparse.ArgumentParser) -> None:
    group = promote.add_argument_group("KServe", "serve it from the cluster of the kubeconfig, or of this pod")
    group.add_argument("--kubernetes", action="store_true", help="apply an InferenceService, wait, and try it")
    _add_endpoint(group)
    group.add_argument("--replicas", type=int, metavar="N", help="pods (default: as many as there are, else 1)")
    text = "of the traffic to the new checkpoint first; it is kept if it is not worse"
    group.add_argument("--canary", type=int, metavar="PERCENT", help=text)
    group.add_argument("--dry-run", action="store_true", help="only print the InferenceService as YAML")


def _add_result_verbs(verbs: "_Verbs[argparse.ArgumentParser]") -> None:  # noqa: UP037  # the class is generic for type checkers alone
    text = "serve a checkpoint over HTTP (KServe v1 and v2, OpenAI completions)"
    serve = _verb(verbs, "serve", text, "serve_command", "serve")
    serve.add_argument("place", metavar="PLACE", help="a workspace or a checkpoint folder")
    serve.add_argument("--arm", help="serve the best checkpoint of this arm instead of the promoted one")
    serve.add_argument("--host", default="127.0.0.1", help="address to listen on (default 127.0.0.1)")
    serve.add_argument("--port", type=int, default=8080, help="port; 0 selects a free one (default 8080)")
    text = "let pages of this origin call the server, whose own page then shows it too; may be repeated"
    serve.add_argument("--allow-origin", action="append", default=[], metavar="ORIGIN", help=text)
    add_server_flags(serve)
    serve.add_argument("--try", dest="trial", action="store_true", help="serve, send sample requests, print, stop")
    text = "measure what serving costs, and from how many concurrent requests on AR serves more than the DLM"
    measure = _verb(verbs, "measure-serving", text, "measure_serving_command", "train", "registry", "serve")
    measure.set_defaults(function="measure_serving")
    _add_study(measure)
    add_measurement_flags(measure)
    measure.add_argument("--json", action="store_true", help="print as JSON")
    text = "write a checkpoint as a model folder for transformers, vLLM and SGLang; of a DLM with its loader"
    export = _verb(verbs, "export-model", text, "export_command", "train")
    export.set_defaults(function="export_model")
    export.add_argument("place", metavar="PLACE", help="a workspace or a checkpoint folder")
    export.add_argument("folder", metavar="OUT", help="a new folder")
    export.add_argument("--arm", help="export the best checkpoint of this arm instead of the promoted one")
    export.add_argument("--dtype", choices=("fp32", "bf16"), default="fp32", help="of the weights (default fp32)")
    report = _verb(verbs, "report", "print a study's verdicts and the path of its report", "report_command")
    report.add_argument("workspace", metavar="WORKSPACE", help="folder of the study, or its file")
    report.add_argument("--picture", metavar="FILE", help="also write the figure of the verdict to this SVG file")
    report.add_argument("--json", action="store_true", help="print report.json")
    text = "advise which family to pretrain for a budget, from a finished study"
    advise = _verb(verbs, "advise", text, "advise_command")
    advise.add_argument("workspace", metavar="WORKSPACE", help="folder of the study, or its file")
    advise.add_argument(
        "--unique-tokens",
        type=float,
        help="unique tokens to train on, with --parameters (default: each cell of the study)",
    )
    text = "active parameters per token, or a model's name such as nano; with --unique-tokens"
    advise.add_argument("--parameters", help=text)
    advise.add_argument("--flops", type=float, help="training FLOPs of one run (default: the end of the study's runs)")
    advise.add_argument("--epochs", type=float, help="the budget in epochs, in place of --flops")
    advise.add_argument("--json", action="store_true", help="print as JSON")


def _add_import(verbs: "_Verbs[argparse.ArgumentParser]") -> None:  # noqa: UP037  # the class is generic for type checkers alone
    text = "judge learning curves that were measured elsewhere, and record them in the registry as a study"
    parser = _verb(verbs, "import", text, "import_command", "registry")
    parser.set_defaults(function="import_curves")  # `import` is no name of a function
    text = (
        "CSV or Parquet as analyse --curves reads them, exports of W&B and MLflow, mlruns, the address of an MLflow "
        "server (http://host:5000/#experiment), or a TensorBoard log folder"
    )
    parser.add_argument("files", metavar="FILE", nargs="+", help=text)
    parser.add_argument("--study", metavar="NAME", required=True, help="of the study in the registry")
    _add_table_flags(parser.add_argument_group("tables of curves"))
    group = parser.add_argument_group("trackers", "which arm and seed a run is, and how many tokens a step has seen")
    text = r"regular expression of a run's whole name, such as '(?P<arm>ar|dlm)-seed(?P<seed>\d+)'; also (?P<cell>…)"
    group.add_argument("--run-pattern", metavar="REGEX", help=text)
    group.add_argument(
        "--runs", metavar="FILE", help="in its place: CSV with the columns run, arm, seed and maybe cell"
    )
    group.add_argument("--skip-other-runs", action="store_true", help="leave out runs that neither of them covers")
    group.add_argument("--tokens-per-step", type=float, help="training tokens of a step, over all devices")
    group.add_argument("--tokens-metric", metavar="NAME", help="the metric that counts training tokens")
    _add_workspace(parser)
    _add_registry_url(parser)
    _add_plan(parser, "of the curves; part of what names the study's revision")
    parser.add_argument("--json", action="store_true", help="print the analyses as JSON")


def _add_lm_eval(verbs: "_Verbs[argparse.ArgumentParser]") -> None:  # noqa: UP037  # the class is generic for type checkers alone
    text = "lm-evaluation-harness with checkpoints as models: --model crossover --model_args checkpoint=FOLDER"
    # no prefix character, so that every flag is passed on to the harness
    harness = verbs.add_parser("lm-eval", help=text, description=text, prefix_chars="\0", add_help=False)
    harness.set_defaults(module="lm_eval_command", function="lm_eval", extras=("eval", "train"))
    harness.add_argument("arguments", nargs="*", help="arguments of lm-eval")


def _add_registry(verbs: "_Verbs[argparse.ArgumentParser]") -> None:  # noqa: UP037  # the class is generic for type checkers alone
    registry = verbs.add_parser("registry", help="the SQL registry", description="the SQL registry")
    inner = registry.add_subparsers(dest="registry_verb", required=True, metavar="VERB")
    text = "create the registry, or migrate it to this version"
    upgrade = _verb(inner, "upgrade", text, "registry_command", "registry")
    query = _verb(inner, "query", "run one SELECT, read-only", "registry_command", "registry")
    query.add_argument("sql", metavar="SQL", help='such as "SELECT * FROM v_verdicts"')
    query.add_argument(
        "--format", choices=("table", "json", "csv"), default="table", help="how to print (default table)"
    )
    query.add_argument("--json", action="store_true", help="the same as --format json")
    query.add_argument("--limit", type=int, default=1000, help="maximum number of rows (default 1000)")
    text = "serve the registry over HTTP: pages, an API for training jobs, SQL (--help lists its flags)"
    # no prefix character, so that every flag is passed on to the service
    serve = inner.add_parser("serve", help=text, description=text, prefix_chars="\0", add_help=False)
    serve.set_defaults(module="registry_command", function="serve", extras=("registry", "service"))
    serve.add_argument("arguments", nargs="*", help="flags of the service")
    text = "write the whole registry, as it is at this moment, to one file that both databases take"
    backup = _verb(inner, "backup", text, "registry_copies", "registry")
    backup.add_argument("file", metavar="FILE", help="a new file, such as registry-2026-11-30.zip")
    text = "fill an empty registry with a backup, of SQLite or PostgreSQL"
    restore = _verb(inner, "restore", text, "registry_copies", "registry")
    restore.add_argument("file", metavar="FILE", help="that `crossover registry backup` wrote")
    text = "write every documented view as a Parquet file, for DuckDB, pandas and others"
    export = _verb(inner, "export", text, "registry_copies", "registry", "curves")
    export.add_argument("--parquet", metavar="DIR", required=True, help="folder of the files")
    export.add_argument("--study", metavar="NAME", help="only rows of this study, all its revisions (default: all)")
    for parser in (upgrade, query, backup, restore, export, *_add_registry_care(inner)):
        _add_registry_url(parser)


def _add_registry_care(inner: "_Verbs[argparse.ArgumentParser]") -> list[argparse.ArgumentParser]:  # noqa: UP037  # the class is generic for type checkers alone
    """The verbs that delete, keep and pack."""
    text = "hide a study from every view and page; nothing is removed before a purge"
    delete = _verb(inner, "delete", text, "registry_care", "registry")
    undelete = _verb(inner, "undelete", "bring back a deleted study", "registry_care", "registry")
    text = "write all revisions of a study, with their runs and points, to Parquet files"
    archive = _verb(inner, "archive", text, "registry_care", "registry", "curves")
    for parser in (delete, undelete, archive):
        parser.add_argument("name", metavar="NAME", help="of the study")
    text = "bring an archived study back, into this registry or another one"
    unarchive = _verb(inner, "unarchive", text, "registry_care", "registry", "curves")
    archive.add_argument("folder", metavar="DIR", help="a new folder")
    unarchive.add_argument("folder", metavar="DIR", help="that `crossover registry archive` wrote")
    text = "remove deleted studies, and the checkpoints and promoted copies that they alone use"
    purge = _verb(inner, "purge", text, "registry_care", "registry")
    purge.add_argument(
        "--older-than", metavar="DAYS", type=float, default=30.0, help="deleted at least so long ago (default 30)"
    )
    purge.add_argument("--dry-run", action="store_true", help="only list what would be removed")
    text = "pack the points of runs that are done into arrays: a fifth of the room, the same values"
    compact = _verb(inner, "compact", text, "registry_care", "registry")
    compact.add_argument(
        "--closed-for", metavar="HOURS", type=float, default=24.0, help="ended at least so long ago (default 24)"
    )
    return [delete, undelete, archive, unarchive, purge, compact]


def _extras(options: argparse.Namespace) -> tuple[str, ...]:
    """The extras that the verb needs with these options; an analysis of curves needs one only for its report."""
    if options.function == "promote" and options.kubernetes:
        return (*options.extras, "cluster")
    if options.function == "analyse" and options.curves:
        return ("registry",) if options.out else ()
    extras: tuple[str, ...] = options.extras
    return extras


def _call(arguments: Sequence[str] | None) -> int:
    """Call the function of the chosen verb, importing its module now."""
    from importlib import import_module

    with terminable():
        options = build_parser().parse_args(arguments)
        module = missing_module(_extras(options))
        if module is not None:
            print(f"crossover: {install_hint(module, _extras(options))}", file=sys.stderr)
            return 2
        verb: Verb = getattr(import_module(f"crossover.commands.{options.module}"), options.function)
        return verb(options)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line; returns the exit code."""
    return exit_code_of(lambda: _call(arguments))


if __name__ == "__main__":
    sys.exit(main())
