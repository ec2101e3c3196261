"""The sweep of a study: the study that it is, what decides its results, and the study that takes them."""

from __future__ import annotations

from collections.abc import Sequence

from crossover.errors import StudyError
from crossover.files import digest_of
from crossover.study.arms import Recipe
from crossover.study.study_config import StudyConfig
from crossover.study.study_digests import COMPARISON_VERSION, DATASET_VERSION, TRAINING_VERSION
from crossover.study.tuning_config import Setting, TuningResult
from crossover.tokenization.tokenizer_file import tokenizer_identity

METRIC = "validation_bpb"
"""What settings are chosen by: exact for AR, a bound over the same masks for every setting of a DLM."""

LONGEST = 48
"""Characters of an arm's name in the names of what it tries; longer ones are cut and numbered."""
SWEEP_VERSION = 1
"""Raise when the same sweep would measure other losses: for the measurement itself, or a default that decides it."""


def sweep_of(study: StudyConfig) -> tuple[StudyConfig, dict[str, tuple[str, Setting]]]:
    """The sweep as a study, and its arms: name to the arm that is tuned, and the setting.

    Only the held-out loss is measured, at the study's checkpoints.
    """
    variants, recipes = {}, {}
    for place, arm in enumerate(study.tuned_arms):
        own = study.recipes.get(arm) or Recipe()
        for number, (rate, decay) in enumerate(study.tuning.settings):
            name = f"{arm if len(arm) <= LONGEST else f'{arm[: LONGEST - 3]}-{place}'}-tried-{number}"
            changes = {"base": own.base or arm, "learning_rate": rate}
            changes |= {} if decay is None else {"weight_decay": decay}
            variants[name] = (arm, (rate, decay))
            recipes[name] = own.model_copy(update=changes).model_dump(exclude_none=True)
    arms = list(variants)
    grid = study.grid
    first = {"unique_tokens": grid.unique_tokens[:1], "quality": grid.quality[:1], "models": grid.models[:1]}
    measured = {"tasks": (), "chain_rule_examples": 0, "samples": 0, "passages": 0, "writing_points": 0, "scorer": ""}
    fields = study.model_dump(exclude={"tuning", "analysis"}) | {
        "name": f"{study.name[:56]}-tuning",
        "question": f"Which settings suit the arms of {study.name}?"[:500],
        "grid": first,
        "arms": arms,
        "recipes": recipes,
        "seeds": study.tuning.seeds,
        "evaluation": study.evaluation.model_dump() | measured,
        "analysis": {"baseline": arms[0], "candidate": arms[-1], "metrics": [METRIC]},
    }
    return StudyConfig.model_validate(fields), variants


def sweep_digest(study: StudyConfig) -> str:
    """SHA-256 over what decides the results of a study's sweep.

    That is the data, the smallest budget, the first model, the tuned arms with their settings, the training, how the
    held-out loss is measured, and the sweep's seeds. Fields at their default are left out, so that a later release with
    more of them takes the results of this one. The text itself is not in it, since a study is opened before its corpus
    is read: `stages.sweep_results` keeps the digest of the examples beside the results.
    """
    sweep, variants = sweep_of(study)
    fields = sweep.model_dump(mode="json", exclude_defaults=True, exclude={"name", "question", "analysis"})
    return digest_of(
        {
            "versions": [DATASET_VERSION, COMPARISON_VERSION, TRAINING_VERSION, SWEEP_VERSION],
            "tokenizer": tokenizer_identity(study.data.tokenizer),
            "sweep": fields,
            "arms": [[arm, *setting] for arm, setting in variants.values()],
        }
    )


def with_results(study: StudyConfig, results: Sequence[TuningResult]) -> StudyConfig:
    """The study with these results in place of its own; without any its sweep is pending."""
    fields = study.model_dump()
    fields["tuning"] |= {"results": [result.model_dump() for result in results]}
    return StudyConfig.model_validate(fields)


def check_results(study: StudyConfig) -> None:
    """Refuse results of a sweep that were measured for a study of other fields.

    Raises:
        StudyError: they do not carry the digest of this study's sweep.
    """
    if study.tuning.results and {result.sweep for result in study.tuning.results} != {sweep_digest(study)}:
        raise StudyError(
            "study.tuned-before-edit",
            field="tuning.results",
            problem="are of a sweep over other data, another budget, model or arm, or with other settings than this "
            "study's",
            remedy="remove them and tune again: `crossover run` does it, and `crossover tune --write` writes the new "
            "ones; what is measured already is reused",
        )


def require_tuned(study: StudyConfig) -> None:
    """Refuse a study whose sweep was not made: its arms would be trained with settings that it does not ask for.

    Raises:
        StudyError: it has rates to choose from and no results.
    """
    if study.tuning.is_pending:
        raise StudyError(
            "study.not-tuned",
            field="tuning",
            problem="asks for a sweep that has not been made in this workspace",
            remedy="make it with `crossover tune`, or let `crossover run` or the pipeline make it",
        )
