"""What every page shares: the colours and style sheet, the script, and Jinja over the templates of this folder."""

from __future__ import annotations

import re
from importlib import resources
from typing import TYPE_CHECKING

from crossover.report import figure_palette

if TYPE_CHECKING:
    from jinja2 import BaseLoader, Environment
    from markupsafe import Markup

_HERE = "crossover.report"


def environment(*loaders: BaseLoader) -> Environment:
    """Jinja that escapes everything, with the templates of the report after those of the loaders."""
    from jinja2 import ChoiceLoader, Environment, PackageLoader, StrictUndefined
    from markupsafe import Markup

    made = Environment(
        loader=ChoiceLoader([*loaders, PackageLoader(_HERE)]),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    made.filters["drawing"] = Markup
    made.filters["with_code"] = _with_code
    return made


def _with_code(text: str) -> Markup:
    """A text, escaped, in which what stands between backticks is code."""
    from markupsafe import Markup, escape

    return Markup(re.sub(r"`([^`]+)`", r"<code>\1</code>", str(escape(text))))  # noqa: S704  # the text is escaped


def script() -> str:
    """The script of a page, which is whole without it."""
    return _asset("report.js")


def css() -> str:
    """The style sheet, with the colours of light and of dark mode."""
    dark = figure_palette.css_variables(1)
    return (
        f":root {{ {figure_palette.css_variables(0)} }}\n"
        f"@media screen and (prefers-color-scheme: dark) {{ :root:not([data-theme=light]) {{ {dark} }} }}\n"
        f"@media screen {{ :root[data-theme=dark] {{ {dark} }} }}\n{_asset('report.css')}"
    )


def _asset(name: str) -> str:
    return resources.files(_HERE).joinpath("templates", name).read_text("utf-8")
