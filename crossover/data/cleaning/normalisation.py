"""The form that every text is brought to, whatever the study says."""

from __future__ import annotations

import unicodedata


def normalise(text: str) -> str:
    """Normalise: Unicode NFC, newlines as line ends, no NUL, no trailing spaces, no leading or trailing blank lines."""
    text = unicodedata.normalize("NFC", text.replace("\r\n", "\n").replace("\r", "\n").replace("\x00", ""))
    return "\n".join(line.rstrip() for line in text.split("\n")).strip("\n")


def text_bytes(text: str) -> int:
    """Length of a text in UTF-8."""
    return len(text) if text.isascii() else len(text.encode("utf-8", "surrogatepass"))
