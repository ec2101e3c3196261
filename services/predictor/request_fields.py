"""JSON bodies of all protocols: how they are read, and errors that name the field at fault."""

from __future__ import annotations

from typing import Annotated, Any, TypeVar

from pydantic import BaseModel, BeforeValidator, ConfigDict, ValidationError, WithJsonSchema, model_validator

from crossover.errors import RequestError
from crossover.field_faults import field_faults

BodyT = TypeVar("BodyT", bound=BaseModel)
Tokens = tuple[int, ...]
Text = str | Tokens
"""A text, or its token ids."""


def _is_tokens(value: object) -> bool:
    return isinstance(value, list | tuple) and all(type(item) is int and 0 <= item < 1 << 32 for item in value)


def parse_text(value: object) -> Text:
    """A text, or token ids.

    Raises:
        ValueError: it is neither.
    """
    if isinstance(value, str):
        return value
    if not isinstance(value, list | tuple) or not value or not _is_tokens(value):
        raise ValueError(f"is neither text nor a list of token ids: {str(value)[:60]}")
    return tuple(value)


def _prompts(value: object) -> list[Text]:
    """One prompt or several, each a text or token ids, as a list."""
    if isinstance(value, str) or (isinstance(value, list) and value and _is_tokens(value)):
        return [parse_text(value)]
    if not isinstance(value, list):
        raise ValueError(f"is neither text, a list of texts, token ids nor a list of them: {str(value)[:60]}")
    return [parse_text(item) for item in value]


def _texts(value: object) -> list[str]:
    """One text, or a list of texts, as a list."""
    texts = [value] if isinstance(value, str) else value
    if not isinstance(texts, list) or not all(isinstance(text, str) for text in texts):
        raise ValueError(f"is neither text nor a list of texts: {str(value)[:60]}")
    return texts


_STRING: dict[str, Any] = {"type": "string"}
_IDS: dict[str, Any] = {"type": "array", "items": {"type": "integer", "minimum": 0}, "minItems": 1}


def _one_or_many(*kinds: dict[str, Any]) -> WithJsonSchema:
    return WithJsonSchema({"anyOf": [*kinds, *({"type": "array", "items": kind, "minItems": 1} for kind in kinds)]})


TextField = Annotated[Text, BeforeValidator(parse_text), WithJsonSchema({"anyOf": [_STRING, _IDS]})]
PromptsField = Annotated[list[Text], BeforeValidator(_prompts), _one_or_many(_STRING, _IDS)]
TextsField = Annotated[list[str], BeforeValidator(_texts), _one_or_many(_STRING)]


class RequestBody(BaseModel):
    """A JSON object: null is the default, and an unknown field is refused."""

    model_config = ConfigDict(extra="forbid", allow_inf_nan=False)

    @model_validator(mode="before")
    @classmethod
    def _without_nulls(cls, body: Any) -> Any:  # noqa: ANN401 - any JSON value
        return {k: v for k, v in body.items() if v is not None} if isinstance(body, dict) else body


def parse_body(model: type[BodyT], content: object, place: str = "") -> BodyT:
    """A body, or a part of one, from its JSON or from JSON values.

    Args:
        model: that validates it.
        content: JSON as bytes, or a value.
        place: of the part in the body, such as `instances.0`.

    Raises:
        RequestError: it is malformed.
    """
    try:
        return model.model_validate_json(content) if isinstance(content, bytes) else model.model_validate(content)
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        if first["type"] == "json_invalid":
            raise malformed("body", f"is not JSON ({first['ctx']['error']})") from error
        faults = field_faults(error, model, place or "body", lambda name: f"{place}.{name}" if place else name)
        raise RequestError(
            "request.invalid", field=faults.field, problem=faults.problem, remedy=f"correct {faults.named}"
        ) from error


def malformed(field: str, problem: str) -> RequestError:
    """The error of a malformed field."""
    return RequestError("request.invalid", field=field, problem=problem, remedy=f"correct {field}")
