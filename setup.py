"""Which packages are installed, and under which names; everything else is in pyproject.toml.

The folders `cluster`, `components`, `pipelines` and `services` would be generic top-level modules that any other
package may own. They are installed as `crossover_<folder>` (docs/adr/0007).
"""

from setuptools import find_packages, setup

MAPPED = {f"crossover_{folder}": folder for folder in ("cluster", "components", "pipelines", "services")}

setup(
    packages=[
        *find_packages(include=["crossover", "crossover.*"]),
        *MAPPED,
        *(f"{name}.{package}" for name, folder in MAPPED.items() for package in find_packages(folder)),
    ],
    package_dir=MAPPED,
)
