"""Optional packages: which extra installs them, and what to say when one is missing."""

from __future__ import annotations

from collections.abc import Iterable
from importlib.util import find_spec

EXTRAS = {
    "train": ("torch", "safetensors"),
    "curves": ("pyarrow",),
    "data": ("datasets", "datatrove", "ftfy", "py3langid", "pyarrow", "tokenizers", "zstandard"),
    "serve": ("kserve", "torch", "safetensors", "jinja2", "tokenizers"),
    "eval": ("datasets", "lm_eval"),
    "registry": ("sqlalchemy", "alembic", "vl_convert", "jinja2", "tabulate", "httpx"),
    "service": (
        *("fastapi", "uvicorn", "structlog", "prometheus_client", "psycopg", "pyarrow"),
        *("opentelemetry.sdk", "opentelemetry.exporter.otlp", "opentelemetry.instrumentation.fastapi"),
    ),
    "pipelines": ("kfp",),
    "cluster": ("kubernetes", "kubeflow", "httpx"),
}
"""The modules that each extra of pyproject.toml installs; a test compares them."""
BASE = ("minio", "numpy", "pydantic", "pydantic_settings", "yaml", "scipy", "tqdm")
"""The modules that are installed without any extra."""


def missing_module(extras: Iterable[str]) -> str | None:
    """The first required module that is not installed, of the extras or without any; None when all are.

    Nothing is imported.
    """
    required = (*BASE, *(name for extra in extras for name in EXTRAS[extra]))
    return next((name for name in required if not _is_installed(name)), None)


def _is_installed(name: str) -> bool:
    try:
        return find_spec(name) is not None
    except ModuleNotFoundError:  # of a parent package
        return False


def install_hint(module: str, extras: Iterable[str] = ()) -> str | None:
    """One line that says how to install a missing module.

    Args:
        module: the module's name, possibly dotted.
        extras: the extras that the command needs; by default the first extra that installs the module.

    Returns:
        None for a module that no dependency of ours installs.
    """
    top = module.partition(".")[0]
    names = (
        list(extras)
        or [extra for extra, modules in EXTRAS.items() if top in {name.partition(".")[0] for name in modules}][:1]
    )
    if not names and top not in BASE:
        return None
    return f"{top} is not installed; run: pip install " + (f"'crossover[{','.join(names)}]'" if names else "crossover")
