"""Text that was decoded with the wrong encoding is repaired; control characters are removed."""

from __future__ import annotations

from functools import cache
from typing import TYPE_CHECKING

from crossover.data.cleaning.cleaning_counts import StepCounts
from crossover.data.cleaning.normalisation import normalise

if TYPE_CHECKING:
    from ftfy import TextFixerConfig

_KEPT = "\t\n"
_CONTROLS = dict.fromkeys(
    code for code in (*range(0x20), *range(0x7F, 0xA0), 0xFEFF, 0xFFFE, 0xFFFF) if chr(code) not in _KEPT
)
"""C0 and C1 controls, DEL, byte-order marks and the two noncharacters beside them."""


@cache
def _repairs() -> TextFixerConfig:
    """Encoding alone: quotes, ligatures, widths and HTML stay as their author wrote them."""
    from ftfy import TextFixerConfig

    return TextFixerConfig(
        unescape_html=False,
        remove_terminal_escapes=True,
        fix_latin_ligatures=False,
        fix_character_width=False,
        uncurl_quotes=False,
        fix_line_breaks=True,
        remove_control_chars=False,
        normalization="NFC",
    )


def repair_encoding(text: str, counts: StepCounts) -> str:
    """The text as it was before it was decoded with the wrong encoding; unchanged where nothing says so."""
    if text.isascii() and "\x1b" not in text:
        return text
    import ftfy

    repaired = normalise(ftfy.fix_text(text, config=_repairs()))
    counts.replace("documents", repaired != text)
    return repaired


def remove_controls(text: str, counts: StepCounts) -> str:
    """The text without control characters but tab and newline, and without byte-order marks."""
    clean = text.translate(_CONTROLS)
    if len(clean) == len(text):
        return text
    counts.replace("characters", len(text) - len(clean))
    return normalise(clean)
