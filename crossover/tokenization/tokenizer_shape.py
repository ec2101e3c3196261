"""What a tokenizer.json must look like before anything is read out of it."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field, StrictBool, StrictInt, StrictStr, ValidationError

Id = Annotated[StrictInt, Field(ge=0, lt=1 << 32)]


class _Shape(BaseModel):
    model_config = ConfigDict(extra="allow")


class _Part(_Shape):
    """A normalizer or a pre-tokenizer; a sequence has more of them."""

    type: StrictStr
    normalizers: list[_Part] | None = None
    pretokenizers: list[_Part] | None = None
    pattern: dict[str, StrictStr] | None = None
    behavior: StrictStr | None = None
    content: StrictStr | None = None
    replacement: StrictStr | None = None


class _AddedToken(_Shape):
    id: Id
    content: StrictStr = Field(min_length=1)
    special: StrictBool = False


class _Model(_Shape):
    type: StrictStr | None = None
    vocab: dict[StrictStr, Id] | list[tuple[StrictStr, float]]
    merges: list[StrictStr | tuple[StrictStr, StrictStr]] | None = None


class _File(_Shape):
    added_tokens: list[_AddedToken] | None = None
    normalizer: _Part | None = None
    pre_tokenizer: _Part | None = None
    model: _Model


def check_shape(value: object) -> None:
    """Refuse what is no tokenizer.json, and one whose ids are not 0, 1, 2, … with one token each.

    Raises:
        ValueError: naming the field.
    """
    try:
        file = _File.model_validate(value)
    except ValidationError as error:
        fault = error.errors(include_url=False)[0]
        place = ".".join(str(part) for part in fault["loc"] if "[" not in str(part))[:80]
        raise ValueError(f"{place or 'all of it'}: {fault['msg']}") from None
    vocabulary = file.model.vocab
    named = (
        list(vocabulary.items()) if isinstance(vocabulary, dict) else [(t, i) for i, (t, _) in enumerate(vocabulary)]
    )
    _check_ids(named, [(token.content, token.id) for token in file.added_tokens or ()])


def _check_ids(vocabulary: Iterable[tuple[str, int]], added: Iterable[tuple[str, int]]) -> None:
    texts: dict[int, str] = {}
    ids: dict[str, int] = {}
    for place, pairs in (("model.vocab", vocabulary), ("added_tokens", added)):
        for text, token in pairs:
            if any("\ud800" <= character <= "\udfff" for character in text):
                raise ValueError(f"{place}: {text[:40]!r} is no text, since it holds half of a surrogate pair")
            if texts.setdefault(token, text) != text:
                raise ValueError(f"{place}: {texts[token][:40]!r} and {text[:40]!r} have the same id {token}")
            if ids.setdefault(text, token) != token:
                raise ValueError(f"{place}: {text[:40]!r} has the ids {ids[text]} and {token}")
    gap = next((token for token in range(len(texts)) if token not in texts), None)
    if gap is not None or not texts:
        raise ValueError(f"model.vocab: ids must be 0, 1, 2, … without gaps, and no token has the id {gap or 0}")
