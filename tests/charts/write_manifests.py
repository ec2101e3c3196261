"""Writes what the chart renders for every file of ci/, for linters: `python -m tests.charts.write_manifests DIR`."""

from __future__ import annotations

import sys
from pathlib import Path

import yaml

from tests.charts.rendering import CI_VALUES, render, values_of


def main(folder: Path) -> None:
    """One file for each of ci/."""
    folder.mkdir(parents=True, exist_ok=True)
    for path in CI_VALUES:
        name = path.name.removesuffix("-values.yaml")
        (folder / f"{name}.yaml").write_text(yaml.safe_dump_all(render(values_of(path))), "utf-8")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
