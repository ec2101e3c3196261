"""What is in each image, and what is not: settings, packages, layers, leftovers, the bill of materials."""

from __future__ import annotations

import json
import os
import re
import stat
from pathlib import Path

from spdx_tools.spdx.parser.parse_anything import parse_file
from spdx_tools.spdx.validation.document_validator import validate_full_spdx_document

from tests.images.conftest import PROJECT
from tests.images.containers import Image

COMMANDS = {
    "training": (["crossover"], ["--help"]),
    "registry": (["crossover"], ["registry", "serve", "--host", "0.0.0.0", "--port", "8090"]),  # noqa: S104  # within the image's own network
    "predictor": (
        ["python", "-m", "crossover_services.predictor"],
        ["--checkpoint", "/mnt/models", "--host", "0.0.0.0", "--port", "8080", "--grpc-port", "8081"],  # noqa: S104  # within the image's own network
    ),
}
ABSENT = {"training": {"kserve"}, "registry": {"torch", "triton", "kserve", "kfp"}, "predictor": {"kfp", "alembic"}}
SHARED_FOLDERS = {"tmp", "var/tmp", "run/lock"}
"""Anyone may write there, by the file system's standard; a pod's root is read-only."""


def short(image: Image) -> str:
    return image.name.split("crossover-")[1].split(":")[0]


def venv(image: Image) -> Path:
    return image.root / "opt" / "crossover"


def packages(image: Image) -> Path:
    (found,) = (venv(image) / "lib").glob("python3.*/site-packages")
    return found


def test_settings(image: Image) -> None:
    config = image.config
    assert config["User"] == "10001:10001"
    assert (config["Entrypoint"], config["Cmd"]) == COMMANDS[short(image)]
    environment = dict(entry.split("=", 1) for entry in config["Env"])
    assert environment["HOME"] == "/tmp"  # noqa: S108  # a folder of the image
    assert environment["PATH"].startswith("/opt/crossover/bin:")
    labels = {name.removeprefix("org.opencontainers.image."): value for name, value in config["Labels"].items()}
    assert labels["title"] == f"crossover-{short(image)}"
    assert labels["version"] == PROJECT["version"]
    assert labels["licenses"] == PROJECT["license"]
    assert re.fullmatch("[0-9a-f]{40}", labels["revision"])
    assert labels["description"] and labels["created"] and labels["base.name"]


def test_packages(image: Image) -> None:
    modules = {path.name for path in packages(image).iterdir()}
    assert modules & ABSENT[short(image)] == set()
    assert {"crossover", "crossover_services", "crossover_cluster"} <= modules
    assert "pip" not in modules
    assert {path.name for path in (venv(image) / "bin").iterdir()} >= {"crossover", "python", "python3"}


def test_the_product_is_there_once_and_nothing_of_the_build(image: Image) -> None:
    places = [Path(folder) for folder, _, files in os.walk(image.root) if "sampling.py" in files or "cli.py" in files]
    ours = {path for path in places if (path / "cli.py").is_file() and path.name == "crossover"}
    assert ours == {packages(image) / "crossover"}
    assert [name for name in ("app", "source", "wheels", "images", "opt/pip") if (image.root / name).exists()] == []
    assert not list(packages(image).glob("crossover*.egg-info"))
    for folder in ("root", "tmp", "var/cache/apt/archives", "var/lib/apt/lists", "home"):
        files = [path for path in (image.root / folder).rglob("*") if path.is_file() and path.name[0] != "."]
        assert files == [], folder
    assert not (image.root / "root" / ".cache").exists()
    assert not [name for name in ("etc/pip.conf", "etc/pip-ca.pem") if (image.root / name).is_file()]


def test_all_is_byte_compiled_once_and_for_all(image: Image) -> None:
    other = ("/torch/testing/_internal/", "/_distutils_hack/")  # not for this Python; compiled by whoever starts first
    sources = [path for path in packages(image).rglob("*.py") if not any(name in path.as_posix() for name in other)]
    assert len(sources) > 1000
    compiled = {path: path.parent / "__pycache__" / f"{path.stem}.cpython-311.pyc" for path in sources}
    assert [path for path, bytecode in compiled.items() if not bytecode.is_file()] == []
    kinds = {int.from_bytes(bytecode.read_bytes()[4:8], "little") for bytecode in compiled.values()}
    assert kinds == {1}, "bytecode that is checked against the time of its source"


def test_nobody_can_write_what_is_installed(image: Image) -> None:
    """Device nodes would be found too: a node without root cannot unpack them."""
    writable = []
    for folder, _, files in os.walk(image.root):
        for path in (Path(folder), *(Path(folder, name) for name in files)):
            state = path.lstat()
            if not stat.S_ISLNK(state.st_mode) and (state.st_mode & stat.S_IWOTH or state.st_uid == 10001):
                writable.append(path.relative_to(image.root).as_posix())
    assert set(writable) == {name for name in SHARED_FOLDERS if (image.root / name).exists()}


def test_an_edit_of_the_code_leaves_the_other_layers(image: Image) -> None:
    """torch, then the dependencies, then the product, each in a layer of its own, then the bill of materials."""
    steps = [entry["created_by"] for entry in image.oci["history"] if not entry.get("empty_layer")]
    copies = [step for step in steps if "/opt/crossover" in step and "COPY" in step]
    assert len(copies) == (3 if short(image) == "registry" else 4)
    assert "sbom" in copies[-1]


def test_the_bill_of_materials(image: Image) -> None:
    path = venv(image) / "sbom.spdx.json"
    assert [message.validation_message for message in validate_full_spdx_document(parse_file(str(path)))] == []
    entries = json.loads(path.read_text())["packages"]
    urls = {reference["referenceLocator"] for entry in entries for reference in entry.get("externalRefs", ())}
    installed = [path.name.removesuffix(".dist-info").rsplit("-", 1) for path in packages(image).glob("*.dist-info")]
    wanted = {f"pkg:pypi/{re.sub('[-_.]+', '-', name).lower()}@{version}" for name, version in installed}
    assert {url for url in urls if url.startswith("pkg:pypi/")} == wanted
    assert any(url.startswith("pkg:deb/debian/libc6@") for url in urls)
