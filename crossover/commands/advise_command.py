"""`crossover advise`: what to choose for a budget."""

from __future__ import annotations

import argparse
import json
import re
import sys
from typing import TYPE_CHECKING

from crossover.commands.command_options import workspace_at
from crossover.commands.report_command import read_report, report_json
from crossover.commands.report_renewal import renewal_note
from crossover.errors import StudyError
from crossover.field_faults import did_you_mean
from crossover.model.model_presets import model_presets, preset
from crossover.stages.tokenizer_record import recall_tokenizer
from crossover.stages.workspace import STUDY_FILE
from crossover.storage import open_store
from crossover.tokenization.tokenizer_file import vocabulary_rows

if TYPE_CHECKING:
    from crossover.analysis.across.cross_cell_result import Advice
    from crossover.analysis.across.next_experiments import StudyRuns
    from crossover.report import ReportContext


_SENTENCE = re.compile(r"(?<=\.) (?=[A-Z])")


def advise(options: argparse.Namespace) -> int:
    """Print what to choose for so many unique tokens, parameters and FLOPs; by default for every cell that was run.

    Where tiers of quality were compared, there is an answer for each of them.

    Raises:
        StudyError: a number is not positive, unique tokens and parameters are not given together, or the budget is less
            than an optimizer step of every cell.
    """
    from crossover.analysis.across.budget_advice import advise as advise_on
    from crossover.analysis.across.budget_advice import advise_all
    from crossover.analysis.across.next_experiments import without_edits
    from crossover.report import because, choice_sentence, serving_lines
    from crossover.report.number_formats import tier

    workspace = workspace_at(options.workspace)
    context = read_report(report_json(workspace))
    analyses = {cell.cell: cell.analysis for cell in context.cells}
    cells = [(facts, analyses[facts.cell]) for facts in context.overview.cells]
    if not cells:
        raise StudyError(
            "advise.no-cells",
            field="WORKSPACE",
            problem="the report is of curves whose unique tokens or parameters are not known",
            remedy="give both as columns of the curves (docs/curves.md) and analyse again",
        )
    flops, epochs = _budget(options)
    size = _size(options, context, workspace)
    runs, draws = _study_runs(context), _draws(workspace)
    if size is None:
        results = advise_all(cells, flops=flops, epochs=epochs, study=runs, draws=draws)
    else:
        unique_tokens, parameters = size
        results = tuple(
            advise_on(
                cells,
                unique_tokens=unique_tokens,
                parameters=parameters,
                quality=quality,
                flops=flops,
                epochs=epochs,
                study=runs,
                draws=draws,
            )
            for quality in dict.fromkeys(facts.quality for facts, _ in cells)
        )
    if not context.measured_here:
        results = tuple(map(without_edits, results))
    if all(advice.basis == "no budget" for advice in results):
        flag = "--flops" if epochs is None else "--epochs"
        raise _bad(flag, f"is no budget: {results[0].because[:-1]}", "give one step or more, or leave it out")
    if note := renewal_note(options.workspace, workspace, context):
        print(note, file=sys.stderr if options.json else sys.stdout)
    if options.json:
        rows = [
            advice.model_dump(mode="json")
            | {"because": because(context, advice), "text": choice_sentence(context, advice)}
            for advice in results
        ]
        if context.serving:
            serving = {
                "serving": context.serving.model_dump(mode="json"),
                "serving_text": serving_lines(context.serving),
            }
            rows = [row | serving for row in rows]
        print(json.dumps(rows, indent=1, ensure_ascii=False))
        return 0
    for advice in results:
        facts = f"{advice.unique_tokens:,} unique tokens, {advice.parameters:,} parameters{tier(advice.quality)}"
        print(f"{facts}{_budget_words(advice)}: {choice_sentence(context, advice)}")
        first, *others = _SENTENCE.split(because(context, advice))
        print(f"  Because: {first}")
        for sentence in others:
            print(f"    {sentence}")
        print(f"  Cheapest experiment that could change this: {advice.cheapest}")
        for other in advice.alternatives:
            print(f"  Or: {other}")
    print("".join(f"{sentence}\n" for sentence in serving_lines(context.serving)), end="")
    return 0


def _budget_words(advice: Advice) -> str:
    from crossover.analysis.across.measured_range import epochs_words

    parts = [epochs_words(advice.epochs)] if advice.epochs else []
    parts += [f"{advice.flops:.3g} FLOPs"] if advice.flops else []
    end = ", the end of the runs" if advice.basis == "verdict" else ""
    return f", {', '.join(parts)}{end}" if parts else ""


def _budget(options: argparse.Namespace) -> tuple[float | None, float | None]:
    """FLOPs and epochs of one run; at most one of them is given."""
    for flag, value, words in (
        ("--flops", options.flops, "training FLOPs of one run, such as 1e15"),
        ("--epochs", options.epochs, "epochs of one run, such as 40"),
    ):
        if value is not None and not 0 < value < float("inf"):
            raise _bad(flag, f"is {value:g}, which is no budget", f"give a positive number of {words}, or leave it out")
    if options.flops is not None and options.epochs is not None:
        raise _bad("--epochs", "is given beside --flops, and both are the budget", "leave one of them out")
    return options.flops, options.epochs


def _size(options: argparse.Namespace, context: ReportContext, workspace: str) -> tuple[int, int] | None:
    """Unique tokens and parameters; None where neither is given."""
    tokens = options.unique_tokens
    if tokens is None and options.parameters is None:
        return None
    for flag, value in (("--unique-tokens", tokens), ("--parameters", options.parameters)):
        if value is None:
            raise _bad(flag, "is missing", "give --unique-tokens and --parameters together, or neither")
    if not (0 < tokens < float("inf") and float(tokens).is_integer()):
        remedy = "give a whole number of tokens of 1 or more, such as 10000 or 1e6"
        raise _bad("--unique-tokens", f"is {tokens:g}, which is no number of tokens", remedy)
    return int(tokens), _parameters(options.parameters, context, workspace)


def _parameters(text: str, context: ReportContext, workspace: str) -> int:
    """A number of parameters, or that of a model of the study or of the presets."""
    active = {facts.cell: facts.parameters for facts in context.overview.cells}
    own = {cell.model.partition(":")[0]: active[cell.cell] for cell in context.cells if cell.cell in active}
    if text in own:
        return own[text]
    if text in model_presets():
        # the length of a sequence adds no parameters
        return preset(text, vocab_size=_rows(workspace), max_length=1).active_parameters
    try:
        value = float(text)
    except ValueError:
        names = tuple(dict.fromkeys((*(name for name in own if name), *model_presets())))
        problem = f"is {text!r}, neither a number nor a model{did_you_mean(text, names)}"
        raise _bad("--parameters", problem, f"give a number, or one of {', '.join(names)}") from None
    if not (0 < value < float("inf") and value.is_integer()):
        remedy = "give a whole number of 1 or more, such as 133888 or 1e6, or a model's name"
        raise _bad("--parameters", f"is {value:g}, which is no number of parameters", remedy)
    return int(value)


def _rows(workspace: str) -> int:
    """Rows of the vocabulary of the study; those of bytes where the report is of curves from elsewhere."""
    store = open_store(workspace)
    document = store.read_document(STUDY_FILE)
    name = document.value.get("study", {}).get("data", {}).get("tokenizer", "bytes") if document else "bytes"
    recall_tokenizer(name, store)
    return vocabulary_rows(name)


def _study_runs(context: ReportContext) -> StudyRuns:
    from crossover.analysis.across.next_experiments import StudyRuns

    runs = [run for cell in context.cells for run in cell.runs]
    steps = {cell.cell: max((run.steps for run in cell.runs), default=0) for cell in context.cells}
    return StudyRuns(len(runs), sum(run.flops for run in runs), sum(run.seconds for run in runs), steps)


def _draws(workspace: str) -> int:
    """Masks an example in the evaluation of the study; 0 is not known."""
    document = open_store(workspace).read_document(STUDY_FILE)
    evaluation = document.value.get("study", {}).get("evaluation", {}) if document else {}
    return int(evaluation.get("nelbo_draws", 0))


def _bad(flag: str, problem: str, remedy: str) -> StudyError:
    return StudyError("advise.bad-budget", field=flag, problem=problem, remedy=remedy)
