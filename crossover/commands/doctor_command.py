"""`crossover doctor`: checks of this machine, and the settings. Only reads."""

from __future__ import annotations

import argparse
import importlib.util
import json
import os
import platform
import shutil
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from pydantic import SecretStr

from crossover.extras import missing_module
from crossover.settings import Settings, available_cores, get_settings
from crossover.url_masking import mask_password

_EXTRAS = ("train", "registry", "pipelines", "serve")
MINIMUM_FREE_GIB = 1.0


class Check(NamedTuple):
    """The result of one check."""

    name: str
    ok: bool
    detail: str
    remedy: str = ""


def doctor(options: argparse.Namespace) -> int:
    """Print every check and setting; returns 1 when a check fails."""
    settings = get_settings()
    checks = list(_checks(settings))
    values = {name: _printable(getattr(settings, name)) for name in Settings.model_fields}
    if options.json:
        print(json.dumps({"checks": [check._asdict() for check in checks], "settings": values}, indent=1))
    else:
        for check in checks:
            print(f"{'ok  ' if check.ok else 'FAIL'}  {check.name:<16} {check.detail}")
            if not check.ok:
                print(f"      {check.remedy}")
        print("\nsettings (environment variables)")
        for name, field in Settings.model_fields.items():
            print(f"  CROSSOVER_{name.upper():<14} {values[name]:<40} {field.description}")
    return 0 if all(check.ok for check in checks) else 1


def _printable(value: object) -> str:
    """A setting's value without secrets."""
    if isinstance(value, SecretStr):
        return "set" if value.get_secret_value() else "not set"
    return "(default)" if value in ("", None) else mask_password(str(value))


def _checks(settings: Settings) -> Iterator[Check]:
    supported = (3, 11) <= sys.version_info[:2] <= (3, 13)
    yield Check("python", supported, platform.python_version(), "use Python 3.11, 3.12 or 3.13")
    yield Check("cores", True, f"{available_cores()}, {settings.local_parallelism} steps at once")
    for extra in _EXTRAS:
        missing = missing_module([extra])
        detail = "installed" if missing is None else f"{missing} is missing"
        yield Check(f"extra {extra}", missing is None, detail, f"run: pip install 'crossover[{extra}]'")
    yield _home(settings)
    yield _registry(settings)
    if importlib.util.find_spec("torch") is not None:
        yield from _tasks(settings)
    if settings.s3_endpoint:
        yield Check("s3", True, f"{settings.s3_endpoint} (not contacted before a workspace names a bucket)")


def _home(settings: Settings) -> Check:
    """The home folder; where it cannot be written (a pod with a read-only root), the scratch folder takes its place."""
    home = _existing_folder(settings.home)
    used = home if os.access(home, os.W_OK) else _existing_folder(settings.scratch_folder)
    free = shutil.disk_usage(used).free / 2**30
    writable = os.access(used, os.W_OK)
    detail = f"{settings.home}: {'writable' if used == home else 'not writable'}, {free:.1f} GiB free"
    if used != home:
        detail += f" in {settings.scratch_folder}"
    remedy = "set CROSSOVER_HOME or CROSSOVER_SCRATCH to a folder with space that you own"
    return Check("home", writable and free > MINIMUM_FREE_GIB, detail, remedy)


def _existing_folder(path: Path) -> Path:
    """The path, or the nearest of its parents that exists."""
    return next(p for p in (path.absolute(), *path.absolute().parents) if p.exists())


def _tasks(settings: Settings) -> Iterator[Check]:
    """Task packs and the sandbox. Only studies that name packs need them, so their absence is no failure."""
    from crossover.data.task_packs import catalogue, find_pack
    from crossover.errors import StudyError
    from crossover.evaluation.sandbox import require_sandbox

    present = [name for name in catalogue() if (settings.tasks / find_pack(name, settings.tasks).file).is_file()]
    yield Check("tasks", True, f"{settings.tasks}: {len(present)} of {len(catalogue())} well-known packs")
    try:
        require_sandbox()
        yield Check("sandbox", True, "generated programs can be confined")
    except StudyError as error:
        yield Check("sandbox", True, f"tasks that run programs are refused: {error.problem}")


def _registry(settings: Settings) -> Check:
    """Whether the registry can be read, or, where there is none, made."""
    if importlib.util.find_spec("sqlalchemy") is None:
        return Check("registry", False, "not checked", "run: pip install 'crossover[registry]'")
    from crossover.errors import AccessError, RegistryError
    from crossover.registry import is_service, open_to_read
    from crossover.registry.registry_url import UNWRITABLE_REMEDY, file_of, parse_url

    try:
        with open_to_read(settings.registry) as registry:
            registry.check()
            answers = "answers this caller" if is_service(settings.registry) else "at this version's schema"
            return Check("registry", True, f"{registry.url}: {answers}")
    except (AccessError, RegistryError) as error:
        if error.code != "registry.missing":
            return Check("registry", False, error.problem, error.remedy)
    file = file_of(parse_url(settings.registry))
    folder = _existing_folder(file)
    writable = folder.is_dir() and os.access(folder, os.W_OK)
    detail = f"no registry yet: `crossover run` makes {file}" if writable else f"{file}: cannot be made"
    return Check("registry", writable, detail, UNWRITABLE_REMEDY)
