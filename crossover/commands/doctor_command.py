"""`crossover doctor`: can this machine do the work, and what are the settings?"""

from __future__ import annotations

import argparse
import importlib.util
import json
import os
import platform
import shutil
import sys
from collections.abc import Iterator
from typing import NamedTuple

from pydantic import SecretStr

from crossover.settings import Settings, available_cores, get_settings

_EXTRAS = {"torch": "train", "sqlalchemy": "registry", "altair": "registry", "kfp": "pipelines", "kserve": "serve"}
MINIMUM_FREE_GIB = 1.0


class Check(NamedTuple):
    """One thing that was looked at."""

    name: str
    ok: bool
    found: str
    remedy: str = ""


def doctor(options: argparse.Namespace) -> int:
    """Print every check and setting; exit 1 when something is amiss."""
    settings = get_settings()
    checks = list(_checks(settings))
    rows = {name: _shown(getattr(settings, name)) for name in Settings.model_fields}
    if options.json:
        print(json.dumps({"checks": [check._asdict() for check in checks], "settings": rows}, indent=1))
    else:
        for check in checks:
            print(f"{'ok  ' if check.ok else 'FAIL'}  {check.name:<12} {check.found}")
            if not check.ok:
                print(f"      {check.remedy}")
        print("\nsettings (environment variables)")
        for name, field in Settings.model_fields.items():
            print(f"  CROSSOVER_{name.upper():<14} {rows[name]:<40} {field.description}")
    return 0 if all(check.ok for check in checks) else 1


def _shown(value: object) -> str:
    if isinstance(value, SecretStr):
        return "set" if value.get_secret_value() else "not set"
    return str(value) or "(default)"


def _checks(settings: Settings) -> Iterator[Check]:
    supported = (3, 11) <= sys.version_info[:2] <= (3, 13)
    yield Check("python", supported, platform.python_version(), "use Python 3.11, 3.12 or 3.13")
    yield Check("cores", True, f"{available_cores()}, {settings.local_parallelism} steps at once")
    for module, extra in _EXTRAS.items():
        installed = importlib.util.find_spec(module) is not None
        yield Check(
            module, installed, "installed" if installed else "missing", f"run: pip install 'crossover[{extra}]'"
        )
    yield _home(settings)
    yield _registry(settings)
    if importlib.util.find_spec("torch") is not None:
        yield from _tasks(settings)
    if settings.s3_endpoint:
        yield Check("s3", True, f"{settings.s3_endpoint} (not contacted before a workspace names a bucket)")


def _home(settings: Settings) -> Check:
    existing = next(p for p in (settings.home.absolute(), *settings.home.absolute().parents) if p.exists())
    free = shutil.disk_usage(existing).free / 2**30
    writable = os.access(existing, os.W_OK)
    found = f"{settings.home}: {'writable' if writable else 'not writable'}, {free:.1f} GiB free"
    return Check(
        "home", writable and free > MINIMUM_FREE_GIB, found, "set CROSSOVER_HOME to a folder with space that you own"
    )


def _tasks(settings: Settings) -> Iterator[Check]:
    """Only studies that name packs need these, so that their absence is no fault."""
    from crossover.data.task_packs import catalogue, find_pack
    from crossover.errors import StudyError
    from crossover.evaluation.sandbox import require_sandbox

    there = [name for name in catalogue() if (settings.tasks / find_pack(name, settings.tasks).file).is_file()]
    yield Check("tasks", True, f"{settings.tasks}: {len(there)} of {len(catalogue())} well-known packs")
    try:
        require_sandbox()
        yield Check("sandbox", True, "generated programs can be confined")
    except StudyError as error:
        yield Check("sandbox", True, f"tasks that run programs are refused: {error.problem}")


def _registry(settings: Settings) -> Check:
    if importlib.util.find_spec("sqlalchemy") is None:
        return Check("registry", False, "not checked", "run: pip install 'crossover[registry]'")
    from crossover.errors import RegistryError
    from crossover.registry import Registry

    try:
        with Registry.open(settings.registry):
            return Check("registry", True, "opens, at this version's schema")
    except RegistryError as error:
        return Check("registry", False, error.problem, error.remedy)
