"""Studies from YAML files, from text, and from the presets that ship with Crossover."""

from __future__ import annotations

from importlib import resources
from pathlib import Path

from pydantic import ValidationError

from crossover.errors import StudyError
from crossover.field_faults import did_you_mean, field_faults, validate_fields
from crossover.study.study_config import StudyConfig
from crossover.yaml_text import parse_yaml

PRESETS = "crossover.study.presets"


def study_presets() -> tuple[str, ...]:
    """Names that `load_study` accepts in place of a file."""
    folder = resources.files(PRESETS)
    return tuple(sorted(f.name.removesuffix(".yaml") for f in folder.iterdir() if f.name.endswith(".yaml")))


def load_study(file_or_preset: str) -> StudyConfig:
    """Read a study from a YAML file, or take a named preset.

    Raises:
        StudyError: no such file or preset, not YAML, or a field is wrong; names the field.
    """
    path = Path(file_or_preset)
    if path.suffix not in (".yaml", ".yml", ".json") and file_or_preset in study_presets():
        return parse_study(resources.files(PRESETS).joinpath(f"{file_or_preset}.yaml").read_text("utf-8"))
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        meant = did_you_mean(file_or_preset, study_presets())
        raise StudyError(
            "study.not-found",
            field="STUDY",
            problem=f"{file_or_preset!r} is neither a preset nor a readable file{meant}",
            remedy=f"give a YAML file or one of the presets {', '.join(study_presets())}",
        ) from error
    return parse_study(text)


def parse_study(text: str) -> StudyConfig:
    """A study from YAML (or JSON) text.

    Raises:
        StudyError: with every wrong field.
    """
    try:
        raw = parse_yaml(text)
    except ValueError as error:
        raise StudyError(
            "study.not-yaml", field="STUDY", problem=f"not YAML: {error}", remedy="mend the syntax"
        ) from error
    if not isinstance(raw, dict):
        raise StudyError(
            "study.not-a-mapping",
            field="STUDY",
            problem="the file is not a mapping of fields",
            remedy="start from `crossover run demo --print-study`",
        )
    try:
        return validate_fields(StudyConfig, raw)
    except ValidationError as error:
        faults = field_faults(error, StudyConfig, "study")
        raise StudyError(
            "study.invalid", field=faults.field, problem=faults.problem, remedy=f"correct {faults.named}"
        ) from error
