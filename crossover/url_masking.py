"""URLs as they may be printed: without passwords."""

from __future__ import annotations

import re

_USER_INFO = re.compile(r"(://[^:/@?]*):.*@")  # to the last @: an unescaped password may hold any character
_PARAMETER = re.compile(r"([?&][^=&]*(?:pas|pwd|secret|token|key)[^=&]*=)[^&\s]*", re.IGNORECASE)


def mask_password(text: str) -> str:
    """The text with every password in it as `***`: of a URL's user, and of parameters such as `?password=`."""
    return _PARAMETER.sub(r"\1***", _USER_INFO.sub(r"\1:***@", text))
