"""Style sheets and scripts under addresses with their digest, so that browsers may keep them for good."""

from __future__ import annotations

import hashlib
from importlib import resources

from fastapi import Response

from crossover.report import page_design


def _read(name: str) -> str:
    return resources.files("crossover_services.registry").joinpath("static", name).read_text("utf-8")


_CONTENTS = {
    "pages.css": ("text/css; charset=utf-8", f"{page_design.css()}\n{_read('pages.css')}"),
    "pages.js": ("text/javascript; charset=utf-8", f"{page_design.script()}\n{_read('pages.js')}"),
}
ADDRESSES = {
    name: f"/static/{hashlib.sha256(text.encode()).hexdigest()[:12]}/{name}" for name, (_, text) in _CONTENTS.items()
}
"""File to address."""


def asset(name: str) -> Response | None:
    """A file, whatever digest its address has; None when there is none of that name."""
    if name not in _CONTENTS:
        return None
    kind, text = _CONTENTS[name]
    headers = {"Cache-Control": "public, max-age=31536000, immutable", "X-Content-Type-Options": "nosniff"}
    return Response(text, media_type=kind, headers=headers)
