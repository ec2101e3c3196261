"""Fields that people write, checked against a model: every fault at once, in plain words, with the value."""

from __future__ import annotations

import difflib
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, NamedTuple, TypeVar, get_args, get_origin

from pydantic import BaseModel, BeforeValidator, ValidationError
from pydantic.fields import FieldInfo

ModelT = TypeVar("ModelT", bound=BaseModel)
NAME_PATTERN = r"^[a-z0-9][a-z0-9._-]{0,62}$"
"""Of names that become folders: of studies, arms, tasks."""
_SHOWN = 60
_TEXTS = {
    "missing": "is missing",
    "string_type": "is not text: {}",
    **dict.fromkeys(("tuple_type", "list_type"), "is not a list: {}; write [first, second]"),
    **dict.fromkeys(("int_type", "int_parsing", "int_from_float"), "is not a whole number: {}"),
    **dict.fromkeys(("float_type", "float_parsing"), "is not a number: {}"),
    **dict.fromkeys(("bool_type", "bool_parsing"), "is neither true nor false: {}"),
    **dict.fromkeys(("model_type", "model_attributes_type", "dict_type"), "has no fields (name: value): {}"),
}
"""What is wrong, by the type of pydantic's error; with the value."""


class FieldFaults(NamedTuple):
    """What an error says of the fields of a file."""

    field: str
    """The field at fault, or the name of the file when there are several."""
    problem: str
    """The fault, or all of them, one a line."""
    named: str
    """What a remedy calls them."""


def validate_fields(model: type[ModelT], fields: object) -> ModelT:
    """A model from fields that somebody wrote; a single value is taken where a list is wanted.

    Raises:
        ValidationError: see `field_faults`.
    """
    return model.model_validate(_with_lists(model, fields))


def field_faults(
    error: ValidationError, model: type[BaseModel], file: str, rename: Callable[[str], str] = str
) -> FieldFaults:
    """Every fault of a validation.

    Args:
        error: of the validation.
        model: that was validated.
        file: what holds the fields, such as `study`.
        rename: from the dotted name of a field to what people call it, such as a flag.
    """
    faults: dict[str, str] = {}
    for fault in error.errors(include_url=False):
        place = ".".join(str(part) for part in fault["loc"])
        if fault["type"] == "too_short" and fault["input"]:  # its elements are at fault, and are not counted
            continue
        names, text = _named_fields(_text(fault, model), _part_at(model, fault["loc"]))
        places = [f"{place}.{name}" if place else name for name in names] or [place]
        faults.setdefault(" and ".join(rename(name) if name else file for name in places), text)
    if len(faults) == 1:
        field, problem = next(iter(faults.items()))
        return FieldFaults(field, problem, field)
    lines = "".join(f"\n  {place}: {text}" for place, text in faults.items())
    return FieldFaults(file, f"{len(faults)} fields are wrong:{lines}", "them")


def _text(fault: Mapping[str, Any], model: type[BaseModel]) -> str:
    """What is wrong with one field."""
    kind, value, context = fault["type"], fault["input"], fault.get("ctx", {})
    shown, message = _shown(value), str(fault["msg"])
    if kind == "value_error":
        text = message.partition(", ")[2]
    elif kind == "extra_forbidden":
        text = _unknown(fault["loc"], model)
    elif kind == "string_type" and isinstance(value, int | float):
        text = f"{shown} is not text; put it in quotes: '{shown}'"
    elif kind == "literal_error":
        text = (
            f"{shown} is not {context['expected']}{did_you_mean(str(value), context['expected'].split(chr(39))[1::2])}"
        )
    elif kind == "string_pattern_mismatch" and context["pattern"] == NAME_PATTERN:
        text = f"{shown} is no name; use up to 63 of a-z, 0-9 and . _ - with a letter or digit first"
    elif kind in _TEXTS:
        text = _TEXTS[kind].format(shown)
    else:
        rest = re.sub(r"^(Input|String|Tuple) ", "", message)
        text = f"{rest[0].lower()}{rest[1:]}, found {shown}"
    return text


def _named_fields(text: str, part: type[BaseModel] | None) -> tuple[list[str], str]:
    """The fields of a part that a validator over several of them names first, `one and other.field: `, and the rest."""
    names, _, rest = text.partition(": ")
    found = re.split(", | and ", names)
    if part is None or not rest or not all(name.partition(".")[0] in part.model_fields for name in found):
        return [], text
    return found, rest


def _shown(value: object) -> str:
    """A value as YAML has it, cut to a readable length."""
    if value is None:
        return "null"
    text = str(value).lower() if isinstance(value, bool) else repr(value)
    return text if len(text) <= _SHOWN else f"{text[: _SHOWN - 1]}…"


def _unknown(place: Sequence[int | str], model: type[BaseModel]) -> str:
    """An unknown field, with the one that was probably meant and all those allowed."""
    name, part = str(place[-1]), _part_at(model, place[:-1])
    if part is None:
        return "unknown field"
    allowed = list(part.model_fields)
    elsewhere = {dotted.rpartition(".")[2]: dotted for dotted in _names(model)}
    meant = did_you_mean(name, allowed) or did_you_mean(elsewhere.get(name, ""), list(elsewhere.values()))
    return f"unknown field{meant} (fields: {', '.join(allowed)})"


def unknown_name(kind: str, name: str, known: Sequence[str]) -> str:
    """What is wrong with a name that is not known: the one that was probably meant, and all there are."""
    meant = did_you_mean(name, known)
    return f"unknown {kind} {name!r}{f'{meant} Choose' if meant else '; choose'} from {', '.join(known)}"


def did_you_mean(written: str, allowed: Sequence[str]) -> str:
    """The name that was probably meant, as the end of a sentence; empty when none is near."""
    close = difflib.get_close_matches(written, allowed, n=1)
    return f"; did you mean {close[0]}?" if close else ""


def _part_at(model: type[BaseModel], place: Sequence[int | str]) -> type[BaseModel] | None:
    """The model whose fields stand at a place of another model's fields."""
    part: type[BaseModel] | None = model
    for name in place:
        if part is None:
            return None
        if name in part.model_fields:
            part = _model_in(part.model_fields[str(name)].annotation)
    return part


def _model_in(annotation: object) -> type[BaseModel] | None:
    """The model in an annotation such as `Model`, `tuple[Model, ...]` or `dict[str, Model]`."""
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return annotation
    return next(filter(None, map(_model_in, get_args(annotation))), None)


def _names(model: type[BaseModel], above: str = "") -> Iterator[str]:
    """The dotted names of all fields of a model's sections."""
    for name, field in model.model_fields.items():
        yield f"{above}{name}"
        if isinstance(field.annotation, type) and issubclass(field.annotation, BaseModel):
            yield from _names(field.annotation, f"{above}{name}.")


def _with_lists(model: type[BaseModel], fields: object) -> object:
    """The fields, with a list of one where a list is wanted and a number or text was written."""
    if not isinstance(fields, dict):
        return fields
    result = dict(fields)
    for name, field in model.model_fields.items():
        value, annotation = fields.get(name), field.annotation
        if isinstance(value, dict) and isinstance(annotation, type) and issubclass(annotation, BaseModel):
            result[name] = _with_lists(annotation, value)
        elif _takes_one(field, value):
            result[name] = [value]
    return result


def _takes_one(field: FieldInfo, value: object) -> bool:
    """Whether a list of any length is wanted, and the value can be one element of it."""
    if get_origin(field.annotation) is not tuple or get_args(field.annotation)[-1] is not Ellipsis:
        return False
    if any(isinstance(part, BeforeValidator) for part in field.metadata):  # takes single values itself
        return False
    scalar = isinstance(value, int | float | str) and not isinstance(value, bool)
    return scalar or (isinstance(value, dict) and _model_in(field.annotation) is not None)
