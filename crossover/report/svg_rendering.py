"""From a Vega-Lite specification to an SVG that lives inside a page: no fixed colours, no clashing ids, small."""

from __future__ import annotations

import itertools
import re
from html import escape
from typing import Any

from crossover.report import figure_palette

_COLOUR_ROLE = {light.lower(): role for role, (light, _) in figure_palette.ROLES.items()}
_COLOUR = re.compile(r'(?<==")(#[0-9a-fA-F]{6})(?=")')
_FRACTION = re.compile(r"(-?\d*\.\d+)(?:e-?\d+)?")
_GEOMETRY = re.compile(r' (?:d|x|y|x1|x2|y1|y2|width|height|transform|viewBox|points)="[^"]*"')
_BACKGROUND = re.compile(r'<rect width="[\d.]+" height="[\d.]+" fill="(?:white|#fff|#ffffff)"\s*/?>(?:</rect>)?')
_IDS = re.compile(r'(?<= id=")([^"]+)(?=")|(?<=url\(#)([^)]+)(?=\))|(?<=href="#)([^"]+)(?=")')
_NOISE = re.compile(
    r' (?:role="graphics-[a-z]+"|aria-roledescription="[^"]*"|aria-hidden="true"|pointer-events="none")'
)
_EMPTY = re.compile(r'<path class="(?:background|foreground)"[^>]*?(?:/>|></path>)')
_OPENING = re.compile(r"<svg\b[^>]*>")
_VIEW_BOX = re.compile(r'viewBox="\S+ \S+ (\S+) (\S+)"(?: width="[\d.]+" height="[\d.]+")?')
_MARGIN = 16
_DEFAULTS = re.compile(
    r' (?:class="[^"]*"|font-family="sans-serif"|opacity="1"|stroke-width="1"|[xy]2="0"|transform="translate\(0,0\)"'
    r'|stroke-dasharray="1,0"|stroke-linejoin="round"|font-size="12px"|xmlns:xlink="[^"]*")'
)
_CLIP = re.compile(r'<clipPath id="([^"]+)">(.*?)</clipPath>')
_CLIP_USE = re.compile(r"url\(#([^)]+)\)")
_GROUP = re.compile(r"<g\b[^>]*>|</g>")
_PATH = re.compile(r' d="((?:M-?[\d.]+,-?[\d.]+(?:L-?[\d.]+,-?[\d.]+)*Z?)+)"')
_INHERITED = ' stroke-linejoin="round" font-size="12px"'
_FALLBACK = re.compile(r"var\((--\w+), #[0-9a-f]{6}\)")


def render(spec: dict[str, Any], *, key: str, title: str, description: str) -> str:
    """Draw a specification, offline.

    Args:
        spec: a Vega-Lite specification with inline data.
        key: unique in the page; every id inside starts with it.
        title: the figure's accessible name.
        description: what the figure shows, for those who do not see it.

    Returns:
        One `<svg>` element whose colours are CSS variables with the light colours as fallback.
    """
    import vl_convert

    drawn = vl_convert.vegalite_to_svg(spec, allowed_base_urls=[])
    return tidy(str(drawn), key=key, title=title, description=description)


def warm_up() -> None:
    """Start the drawing engine, which takes about a second, before anybody waits for a figure."""
    point = {"data": {"values": [{"x": 0}]}, "mark": "point", "encoding": {"x": {"field": "x"}}}
    render(point, key="warm-up", title="", description="")


def tidy(svg: str, *, key: str, title: str, description: str) -> str:
    """Make a drawn SVG fit to be inlined; see `render`."""
    svg = svg[svg.index("<svg") :]
    svg = _EMPTY.sub(_without_paint, _NOISE.sub("", _BACKGROUND.sub("", svg)))
    svg = _GEOMETRY.sub(lambda match: _FRACTION.sub(_rounded, match.group()), svg)
    svg = _COLOUR.sub(_variable, svg)
    numbers = {name: i for i, name in enumerate(dict.fromkeys(match.group() for match in _IDS.finditer(svg)))}
    svg = _IDS.sub(lambda match: f"{key}-{numbers[match.group()]}", svg)
    box = _VIEW_BOX.search(svg)
    width, height = (float(side) for side in box.groups()) if box else (640.0, 400.0)
    opening = (
        f'<svg xmlns="http://www.w3.org/2000/svg" xmlns:xlink="http://www.w3.org/1999/xlink" '
        f'viewBox="0 0 {width:g} {height:g}" width="{width:g}" height="{height:g}" role="img" '
        f'aria-labelledby="{key}-title {key}-desc">'
        f'<title id="{key}-title">{escape(title)}</title><desc id="{key}-desc">{escape(description)}</desc>'
    )
    return _OPENING.sub(lambda _: opening, svg, count=1)


def compact(svg: str) -> str:
    """The same SVG, smaller: for a page that declares every colour."""
    svg = _FALLBACK.sub(r"var(\1)", _DEFAULTS.sub("", svg))
    svg = svg.replace(' stroke-miterlimit="10"', _INHERITED, 1)
    return _PATH.sub(_relative, _without_bare_groups(_with_shared_clips(svg)))


def _with_shared_clips(svg: str) -> str:
    """Of clip paths with the same outline the first serves all."""
    first: dict[str, str] = {}
    same = {name: first.setdefault(outline, name) for name, outline in _CLIP.findall(svg)}
    svg = _CLIP.sub(lambda match: match.group() if same[match[1]] == match[1] else "", svg)
    return _CLIP_USE.sub(lambda match: f"url(#{same.get(match[1], match[1])})", svg)


def _without_bare_groups(svg: str) -> str:
    """Groups without attributes change nothing."""
    bare: list[bool] = []

    def tag(match: re.Match[str]) -> str:
        if match.group() == "</g>":
            return "" if bare.pop() else "</g>"
        bare.append(match.group() == "<g>")
        return "" if bare[-1] else match.group()

    return _GROUP.sub(tag, svg)


def _relative(match: re.Match[str]) -> str:
    """A path of straight lines by their differences, in tenths of a pixel; any other path as it is."""
    parts = []
    for outline in re.findall(r"M[^M]*", match[1]):
        places = [
            [round(10 * float(n)) for n in place.split(",")] for place in re.split("[ML]", outline.rstrip("Z"))[1:]
        ]
        steps = [(b[0] - a[0], b[1] - a[1]) for a, b in itertools.pairwise(places)]
        words = [_tenths(n) for step in steps for n in step]
        line = "".join(w if w[0] == "-" or i == 0 else f" {w}" for i, w in enumerate(words))
        start = ",".join(map(_tenths, places[0]))
        parts.append(f"M{start}" + (f"l{line}" if line else "") + "Z" * outline.endswith("Z"))
    return f' d="{"".join(parts)}"'


def _tenths(number: int) -> str:
    return f"{number / 10:g}".replace("0.", ".", 1) if abs(number) < 10 else f"{number / 10:g}"


def standalone(svg: str, theme: str = "") -> str:
    """The same SVG with its colours and ground inside, for use as a picture file.

    Args:
        svg: an element that `render` made.
        theme: `light` or `dark`; anything else follows the reader's system.
    """
    modes = ("light", "dark")
    style = f":root {{ {figure_palette.css_variables(modes.index(theme) if theme in modes else 0)} }} "
    if theme not in modes:
        style += f"@media (prefers-color-scheme: dark) {{ :root {{ {figure_palette.css_variables(1)} }} }} "
    style = f"<style>{style}svg {{ background: var(--page); }}</style>"
    svg = _VIEW_BOX.sub(_with_margin, svg, count=1)
    return svg.replace("</desc>", f"</desc>{style}", 1)


def _with_margin(match: re.Match[str]) -> str:
    width, height = (float(side) + 2 * _MARGIN for side in match.groups())
    return f'viewBox="{-_MARGIN} {-_MARGIN} {width:g} {height:g}" width="{width:g}" height="{height:g}"'


def _rounded(match: re.Match[str]) -> str:
    value = round(float(match.group()), 1)
    return f"{value:g}" if abs(value) < 1e5 else f"{value:.0f}"


def _without_paint(match: re.Match[str]) -> str:
    return match.group() if "fill=" in match.group() or "stroke=" in match.group() else ""


def _variable(match: re.Match[str]) -> str:
    colour = match.group().lower()
    role = _COLOUR_ROLE.get(colour)
    return f"var(--{role}, {colour})" if role else match.group()
