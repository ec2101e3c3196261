"""The section `data.cleaning` of a study: which steps a document goes through, and what it is left out for."""

from __future__ import annotations

import re
from typing import Any

from pydantic import Field, field_validator, model_validator

from crossover.field_faults import unknown_name
from crossover.study.study_part import StudyPart

PRESETS: dict[str, dict[str, Any]] = {
    "none": {},
    "web": {
        "repair_encoding": True,
        "control_characters": True,
        "secrets": True,
        "personal_data": True,
        "gopher_quality": True,
        "gopher_repetition": True,
    },
    "prose": {
        "repair_encoding": True,
        "control_characters": True,
        "gopher_quality": True,
        "maximum_words": 0,
        "gopher_repetition": True,
    },
    "code": {"control_characters": True, "secrets": True, "personal_data": True, "code_files": True},
}
"""What `data.cleaning: NAME` means; `{preset: NAME, field: value}` changes single fields of it."""


class CleaningConfig(StudyPart):
    """The optional steps, in the order in which they are done; by default none is.

    Whatever is set, text is brought to Unicode NFC with newlines as line ends, without NUL, trailing blanks, and blank
    lines at its ends.
    """

    repair_encoding: bool = Field(
        default=False, description="Repair text that was decoded with the wrong encoding (`ftfy`), such as `cafÃ©`."
    )
    control_characters: bool = Field(
        default=False, description="Remove control characters but tab and newline, and byte-order marks."
    )
    secrets: bool = Field(default=False, description="Replace tokens, private keys and passwords in URLs by `<KEY>`.")
    personal_data: bool = Field(
        default=False, description="Replace e-mail addresses, public IP addresses and phone numbers by placeholders."
    )
    minimum_characters: int = Field(default=0, ge=0, description="Leave out shorter documents.")
    maximum_characters: int = Field(default=0, ge=0, description="Leave out longer documents; 0 keeps them.")
    code_files: bool = Field(default=False, description="Leave out generated, minified and vendored files.")
    languages: tuple[str, ...] = Field(
        default=(),
        description="Keep documents of these ISO 639-1 codes alone (`py3langid`); empty keeps all.",
    )
    gopher_quality: bool = Field(
        default=False, description="Leave out what the quality rules of Gopher reject (`datatrove`)."
    )
    minimum_words: int = Field(default=50, ge=1, description="Fewest words under `gopher_quality`.")
    maximum_words: int = Field(default=100_000, ge=0, description="Most words under `gopher_quality`; 0 is any number.")
    gopher_repetition: bool = Field(
        default=False, description="Leave out what the repetition rules of Gopher reject (`datatrove`)."
    )

    @model_validator(mode="before")
    @classmethod
    def _with_preset(cls, value: object) -> object:
        fields = {"preset": value} if isinstance(value, str) else value
        if not isinstance(fields, dict) or "preset" not in fields:
            return fields
        preset = fields["preset"]
        if preset not in PRESETS:
            raise ValueError(unknown_name("preset of cleaning", str(preset), tuple(PRESETS)))
        return PRESETS[preset] | {name: field for name, field in fields.items() if name != "preset"}

    @field_validator("languages")
    @classmethod
    def _are_codes(cls, languages: tuple[str, ...]) -> tuple[str, ...]:
        for language in languages:
            if not re.fullmatch(r"[a-z]{2,3}", language):
                raise ValueError(f"{language!r} is no ISO 639-1 code; write for example en")
        return languages

    @model_validator(mode="after")
    def _limits_agree(self) -> CleaningConfig:
        for unit in ("characters", "words"):
            least, most = getattr(self, f"minimum_{unit}"), getattr(self, f"maximum_{unit}")
            if most and most < least:
                raise ValueError(f"maximum_{unit} and minimum_{unit}: {most} is less than {least}; every document goes")
        return self
