"""Writes charts/crossover/README.md from the comments of values.yaml: `python -m tests.chart_readme`."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import yaml

CHART = Path(__file__).parents[1] / "charts" / "crossover"
PAGE = CHART / "README.md"
HEAD = """# The chart `crossover`

Registry, pipeline, predictor runtime and training runtime of Crossover on Kubernetes 1.30 or later. How it is used:
[install](../../docs/kubernetes/install.md), [air-gapped](../../docs/kubernetes/air_gapped.md),
[GPUs](../../docs/kubernetes/gpu.md), [upgrade](../../docs/kubernetes/upgrade.md),
[security](../../docs/kubernetes/security.md), [runbook](../../docs/kubernetes/runbook.md),
[sizing](../../docs/kubernetes/sizing.md). `ci/` has values for whole scenarios.
`values.schema.json` refuses values that it does not know.

This page is generated from the comments in `values.yaml`: renew it with `python -m tests.chart_readme`.

Objects of others' CRDs are made only where a value says so: `pipeline.mode: native` (Kubeflow Pipelines),
`kserve.enabled`, `trainer.enabled`, `monitoring.*.enabled` (Prometheus operator), `httpRoute.enabled` (Gateway API).
"""


def documented(text: str) -> Iterator[tuple[str, str]]:
    """The paths of values that have a comment `# -- …`, with it, in order."""
    path: list[tuple[int, str]] = []
    comment = ""
    for line in text.splitlines():
        if match := re.match(r"\s*# (?:-- )?(.*)", line):
            comment = match[1] if "# -- " in line else f"{comment} {match[1]}".strip()
        elif match := re.match(r"( *)([A-Za-z0-9]+):", line):
            path = [(indent, name) for indent, name in path if indent < len(match[1])] + [(len(match[1]), match[2])]
            if comment:
                yield ".".join(name for _, name in path), comment
            comment = ""


def value_at(values: Any, path: str) -> Any:  # noqa: ANN401 - any YAML
    """The default of a value."""
    for name in path.split("."):
        values = values[name]
    return values


def page() -> str:
    """The text of the chart's README."""
    text = (CHART / "values.yaml").read_text("utf-8")
    values, parts = yaml.safe_load(text), [HEAD]
    section = ""
    for path, comment in documented(text):
        group = path.partition(".")[0] if "." in path else "general"
        if group != section:
            section = group
            parts.append(f"\n## {group}\n\n| value | default | what |\n|---|---|---|\n")
        default = json.dumps(value_at(values, path), ensure_ascii=False)
        parts.append(f"| `{path}` | `{default}` | {comment.replace('|', chr(92) + '|')} |\n")
    return "".join(parts)


if __name__ == "__main__":
    PAGE.write_text(page(), "utf-8")
