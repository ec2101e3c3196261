"""Secrets and personal data give way to placeholders, those of StarCoder (arXiv 2305.06161).

Patterns are those of forms that are sure: issuers' prefixes, block markers, checked addresses. Free-form passwords and
names are not found. A placeholder matches no pattern, so that scrubbing twice is scrubbing once.
"""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Callable
from typing import NamedTuple

from crossover.data.cleaning.cleaning_counts import StepCounts


def _any(_: str) -> bool:
    return True


def _public(address: str) -> bool:
    try:
        return ipaddress.ip_address(address).is_global
    except ValueError:
        return False


def _telephone(number: str) -> bool:
    return 8 <= sum(character.isdigit() for character in number) <= 15


class Pattern(NamedTuple):
    """One kind of text to replace."""

    kind: str
    hints: tuple[str, ...]
    """Text without any of them is not searched."""
    expression: re.Pattern[str]
    """With a group named `value`, only that is replaced."""
    placeholder: str
    sure: Callable[[str], bool] = _any


def _key(kind: str, hints: tuple[str, ...], expression: str) -> Pattern:
    return Pattern(kind, hints, re.compile(expression), "<KEY>")


_START, _END = r"(?<![A-Za-z0-9_])", r"(?![A-Za-z0-9_])"
SECRETS = (
    _key(
        "private key",
        (" PRIVATE KEY",),
        r"-----BEGIN (?P<label>(?:[A-Z0-9]+ )*PRIVATE KEY(?: BLOCK)?)-----(?:(?!-----)[\s\S]){1,20000}"
        r"-----END (?P=label)-----",
    ),
    _key("AWS access key", ("AKIA", "ASIA"), rf"{_START}(?:AKIA|ASIA)[A-Z0-9]{{16}}{_END}"),
    _key(
        "AWS secret key",
        ("ecret_access_key", "ecretAccessKey", "ECRET_ACCESS_KEY"),
        r"(?i:secret_?access_?key)['\"]?\s{0,3}[:=]\s{0,3}['\"]?(?P<value>[A-Za-z0-9/+]{40})(?![A-Za-z0-9/+])",
    ),
    _key("GitHub token", ("ghp_", "gho_", "ghu_", "ghs_", "ghr_"), rf"{_START}gh[pousr]_[A-Za-z0-9]{{36,255}}{_END}"),
    _key("GitHub token", ("github_pat_",), rf"{_START}github_pat_[A-Za-z0-9_]{{82}}{_END}"),
    _key("GitLab token", ("glpat-",), rf"{_START}glpat-[A-Za-z0-9_-]{{20,}}"),
    _key("Slack token", ("xox",), rf"{_START}xox[abeoprs]-[A-Za-z0-9-]{{10,}}"),
    _key("Google API key", ("AIza",), rf"{_START}AIza[A-Za-z0-9_-]{{35}}(?![A-Za-z0-9_-])"),
    _key("Stripe key", ("_live_",), rf"{_START}[sr]k_live_[A-Za-z0-9]{{16,}}{_END}"),
    _key("OpenAI key", ("T3BlbkFJ",), rf"{_START}sk-[A-Za-z0-9_-]{{20,}}T3BlbkFJ[A-Za-z0-9_-]{{20,}}"),
    _key("Hugging Face token", ("hf_",), rf"{_START}hf_[A-Za-z]{{34}}{_END}"),
    _key("npm token", ("npm_",), rf"{_START}npm_[A-Za-z0-9]{{36}}{_END}"),
    _key("PyPI token", ("pypi-AgEI",), rf"{_START}pypi-AgEI[A-Za-z0-9_-]{{50,}}"),
    _key("JSON web token", (".eyJ",), rf"{_START}eyJ[\w-]{{10,}}\.eyJ[\w-]{{10,}}\.[\w-]{{10,}}"),
    _key(
        "password in a URL",
        ("://",),
        r"[a-z][a-z0-9+.-]{1,20}://[^\s/:@\"'<>]{1,64}:(?P<value>[^\s/:@\"'<>${}]{3,128})@(?=[A-Za-z0-9\[])",
    ),
)
PERSONAL = (
    Pattern(
        "e-mail address",
        ("@",),
        re.compile(
            r"(?<![A-Za-z0-9._%+-])[A-Za-z0-9_%+-]{1,64}(?:\.[A-Za-z0-9_%+-]{1,64}){0,8}"
            r"@(?:[A-Za-z0-9](?:[A-Za-z0-9-]{0,61}[A-Za-z0-9])?\.){1,8}[A-Za-z]{2,24}(?![A-Za-z0-9@-])"
        ),
        "<EMAIL>",
    ),
    Pattern(
        "IP address",
        (".",),
        re.compile(r"(?<![\w.-])(?:[0-9]{1,3}\.){3}[0-9]{1,3}(?![\w-]|\.\w)"),
        "<IP_ADDRESS>",
        _public,
    ),
    Pattern(
        "IP address",
        (":",),
        re.compile(r"(?<![\w:.])(?:[0-9A-Fa-f]{0,4}:){2,7}[0-9A-Fa-f]{1,4}(?![\w:])"),
        "<IP_ADDRESS>",
        _public,
    ),
    Pattern(
        "phone number",
        ("+",),
        re.compile(r"(?<![\w+])\+[1-9][0-9]{0,2}(?:[ .-](?:[0-9]{2,5}|\([0-9]{2,5}\))){2,5}(?![\w.-]*[0-9])"),
        "<PHONE>",
        _telephone,
    ),
    Pattern(
        "phone number",
        ("(",),
        re.compile(r"(?<![\w(])\([2-9][0-9]{2}\) [2-9][0-9]{2}-[0-9]{4}(?![\w-])"),
        "<PHONE>",
    ),
)
"""Telephone numbers in their international form, and in that of North America with brackets."""


def scrub(text: str, patterns: tuple[Pattern, ...], counts: StepCounts) -> str:
    """The text with what the patterns match replaced by their placeholders.

    Args:
        text: any text.
        patterns: SECRETS or PERSONAL.
        counts: of replacements by kind.
    """
    for pattern in patterns:
        if any(hint in text for hint in pattern.hints):
            text = _replace(text, pattern, counts)
    return text


def _replace(text: str, pattern: Pattern, counts: StepCounts) -> str:
    group = "value" if "value" in pattern.expression.groupindex else 0
    pieces, position = [], 0
    for match in pattern.expression.finditer(text):
        if pattern.sure(match[group]):
            start, end = match.span(group)
            pieces += [text[position:start], pattern.placeholder]
            position = end
    counts.replace(pattern.kind, len(pieces) // 2)
    return "".join((*pieces, text[position:])) if pieces else text
