"""Peaks by exact GPU names, and energy of the right GPU, by fakes of torch's and NVML's answers: no GPU is needed."""

from __future__ import annotations

import sys
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch

from crossover.errors import StudyError
from crossover.study.study_config import StudyConfig
from crossover.study.study_parts import TrainingConfig
from crossover.training import energy_meter, train_engine
from crossover.training.device_metrics import check_precision, peak_flops
from crossover.training.distributed import World, open_world
from crossover.training.energy_meter import EnergyMeter
from crossover.training.recorder import NoRecorder, Progress
from crossover.training.run_spec import RunSpec
from crossover.training.trainer import Trainer
from tests.processes import run_ranks

GPU = torch.device("cuda", 0)
UUIDS = ("9221d5d1-b60b-a624-bf14-0a1819cfda3b", "0f11d5d1-b60b-a624-bf14-0a1819cfda3b")


class FakeNvml:
    """Two GPUs; each has used so many joules per UUID when it is read for the first time, and 1 J more at each read."""

    class NVMLError(Exception):
        """As pynvml's."""

    def __init__(self) -> None:
        self.joules = {f"GPU-{uuid}": 1000.0 * (i + 1) for i, uuid in enumerate(UUIDS)}

    def nvmlInit(self) -> None:
        """Nothing to do."""

    def nvmlDeviceGetHandleByIndex(self, index: int) -> str:
        return f"GPU-{UUIDS[index]}"

    def nvmlDeviceGetHandleByUUID(self, uuid: str) -> str:
        if uuid not in self.joules:
            raise self.NVMLError("Not Found")
        return uuid

    def nvmlDeviceGetTotalEnergyConsumption(self, handle: str) -> int:
        self.joules[handle] += 1.0 if handle.endswith(UUIDS[0]) else 5.0
        return round(1000 * self.joules[handle])


@pytest.fixture
def fake_nvml(monkeypatch: pytest.MonkeyPatch) -> FakeNvml:
    """NVML knows two GPUs, and torch, under CUDA_VISIBLE_DEVICES, the second of them only, as its number 0."""
    nvml = FakeNvml()
    monkeypatch.setitem(sys.modules, "pynvml", nvml)
    fake_torch_gpu(monkeypatch, "NVIDIA H100 80GB HBM3", UUIDS[1])
    return nvml


def fake_torch_gpu(monkeypatch: pytest.MonkeyPatch, name: str, uuid: str) -> None:
    monkeypatch.setattr(torch.cuda, "get_device_name", lambda device: name)
    monkeypatch.setattr(torch.cuda, "get_device_properties", lambda device: SimpleNamespace(uuid=uuid))


def test_a_fake_nvml_is_asked_for_the_gpu_that_torch_sees(fake_nvml: FakeNvml) -> None:
    meter = EnergyMeter(GPU)
    assert meter.note == ""
    assert (meter.joules(), meter.joules()) == (5.0, 10.0)


def test_a_mig_instance_has_no_energy_of_its_own(fake_nvml: FakeNvml, monkeypatch: pytest.MonkeyPatch) -> None:
    fake_torch_gpu(monkeypatch, "NVIDIA A100-SXM4-40GB MIG 1g.5gb", UUIDS[1])
    meter = EnergyMeter(GPU)
    assert meter.joules() is None
    assert meter.note == "NVIDIA A100-SXM4-40GB MIG 1g.5gb: NVML counts the energy of full GPUs only"


def test_a_gpu_that_the_fake_nvml_does_not_know_is_noted(fake_nvml: FakeNvml, monkeypatch: pytest.MonkeyPatch) -> None:
    fake_torch_gpu(monkeypatch, "NVIDIA L4", "another")
    meter = EnergyMeter(GPU)
    assert meter.joules() is None
    assert meter.note == "NVIDIA L4: NVML: Not Found"


def test_without_pynvml_that_is_noted(monkeypatch: pytest.MonkeyPatch) -> None:
    fake_torch_gpu(monkeypatch, "NVIDIA L4", UUIDS[0])
    monkeypatch.setitem(sys.modules, "pynvml", None)
    meter = EnergyMeter(GPU)
    assert meter.joules() is None
    assert meter.note == "NVIDIA L4: pynvml is not installed"


def test_a_gpu_that_fails_later_has_no_energy_from_then_on(fake_nvml: FakeNvml) -> None:
    meter = EnergyMeter(GPU)
    fake_nvml.joules.clear()
    fake_nvml.nvmlDeviceGetTotalEnergyConsumption = fake_nvml.nvmlDeviceGetHandleByUUID  # type: ignore[method-assign,assignment]  # replaced for the test
    assert meter.joules() is None


def test_the_counter_of_a_fake_cpu_package_is_read_by_one_process_a_machine(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "energy_uj").write_text("1000000\n")
    monkeypatch.setattr(energy_meter, "_RAPL", tmp_path)
    first, second = (EnergyMeter(torch.device("cpu"), local_rank) for local_rank in (0, 1))
    (tmp_path / "energy_uj").write_text("4000000\n")
    assert (first.joules(), second.joules()) == (3.0, 0.0)
    (tmp_path / "energy_uj").unlink()
    assert (first.joules(), second.joules()) == (None, 0.0)


class EnergyFile(NoRecorder):
    """Appends every energy that is recorded to a file."""

    def __init__(self, file: Path) -> None:
        self.file = file

    def point(self, at: Progress, metric: str, value: float) -> None:
        if metric == "energy_joules":
            with self.file.open("a") as lines:
                lines.write(f"{value}\n")


def train_with_fake_energy(spec: RunSpec, examples: np.ndarray, folder: Path, joules: dict[int, float | None]) -> None:
    """Train as one of several ranks, whose devices have always used so many joules."""
    with open_world() as world:
        EnergyMeter.joules = lambda self: joules[world.rank]  # type: ignore[method-assign]  # replaced for the test
        Trainer(spec, examples, folder / "run", EnergyFile(folder / "energy"), world=world).run()


@pytest.mark.parametrize(("of_the_second", "recorded"), [(0.25, {"1.75"}), (None, set())])
def test_fake_energies_are_summed_over_ranks_or_unknown(
    of_the_second: float | None, recorded: set[str], tiny_study: StudyConfig, examples: np.ndarray, tmp_path: Path
) -> None:
    spec = RunSpec(study=tiny_study, cell=tiny_study.cells[-1], arm="ar", seed=0)
    (tmp_path / "energy").touch()
    run_ranks(2, train_with_fake_energy, spec, examples, tmp_path, {0: 1.5, 1: of_the_second})
    assert set((tmp_path / "energy").read_text().split()) == recorded


@pytest.mark.parametrize(
    ("name", "bf16", "fp32"),
    [
        ("NVIDIA L4", 121, 30.3),
        ("NVIDIA L40", 181, 90.5),
        ("NVIDIA L40S", 362, 91.6),
        ("NVIDIA A10", 125, 31.2),
        ("NVIDIA A10G", 0, 0),
        ("NVIDIA A100-SXM4-40GB", 312, 19.5),
        ("NVIDIA A100 80GB PCIe", 312, 19.5),
        ("A100-SXM4-80GB", 312, 19.5),
        ("NVIDIA A100-SXM4-40GB MIG 1g.5gb", 0, 0),
        ("NVIDIA H100 80GB HBM3", 989, 67),
        ("NVIDIA H100 PCIe", 756, 51),
        ("NVIDIA H100 NVL", 835, 60),
        ("NVIDIA H200", 989, 67),
        ("NVIDIA H200 NVL", 835, 60),
        ("NVIDIA GH200 480GB", 990, 67),
        ("NVIDIA B200", 2250, 80),
        ("NVIDIA GB200", 2500, 90),
        ("Tesla T4", 0, 8.1),
        ("NVIDIA GeForce RTX 4090", 0, 0),
    ],
)
def test_peaks_by_the_fake_name_of_a_gpu(name: str, bf16: float, fp32: float, monkeypatch: pytest.MonkeyPatch) -> None:
    fake_torch_gpu(monkeypatch, name, UUIDS[0])
    assert peak_flops(GPU, "bf16") == bf16 * 1e12
    assert peak_flops(GPU, "fp32") == fp32 * 1e12
    assert peak_flops(GPU, "fp32", 0.5) == 5e11


@pytest.mark.parametrize(
    ("fields", "precision", "compiled"),
    [
        ({}, "fp32", False),
        ({"device": "cuda"}, "bf16", True),
        ({"device": "cuda", "precision": "fp32", "compile": "auto"}, "fp32", True),
        ({"device": "cuda", "precision": "auto", "compile": False}, "bf16", False),
        ({"device": "cpu", "precision": "bf16", "compile": True}, "bf16", True),
    ],
)
def test_auto_becomes_what_the_device_is_made_for(fields: dict[str, object], precision: str, compiled: bool) -> None:
    config = TrainingConfig.model_validate(fields)
    assert (config.precision, config.compile) == (precision, compiled)
    assert TrainingConfig.model_validate(config.model_dump()) == config


@pytest.mark.parametrize(
    ("name", "precision", "note"),
    [
        ("NVIDIA H100 80GB HBM3", "fp32", "this card's peak is 7% of that in bf16"),
        ("NVIDIA H100 80GB HBM3", "bf16", ""),
        ("NVIDIA L40", "fp32", "50%"),
        ("Tesla T4", "fp32", ""),
    ],
)
def test_fp32_on_a_fake_card_that_is_made_for_bf16_is_noted(
    name: str, precision: str, note: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    fake_torch_gpu(monkeypatch, name, UUIDS[0])
    monkeypatch.setattr(torch.cuda, "is_bf16_supported", lambda including_emulation: True)
    got = check_precision(GPU, precision)
    assert (note in got) if note else not got


def test_a_fake_card_without_bf16_is_an_error_of_the_user(monkeypatch: pytest.MonkeyPatch) -> None:
    fake_torch_gpu(monkeypatch, "Tesla T4", UUIDS[0])
    monkeypatch.setattr(torch.cuda, "is_bf16_supported", lambda including_emulation: including_emulation)
    with pytest.raises(StudyError, match="Tesla T4 does not compute in") as caught:
        check_precision(GPU, "bf16")
    assert (caught.value.field, caught.value.code) == ("training.precision", "device.no-bf16")


def test_a_run_tells_once_what_its_precision_costs(
    tiny_study: StudyConfig, examples: np.ndarray, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Notes(NoRecorder):
        said: tuple[str, ...] = ()

        def note(self, text: str) -> None:
            self.said += (text,)

    monkeypatch.setattr(train_engine, "check_precision", lambda device, precision: f"{precision} on {device} is slow")
    notes = Notes()
    spec = RunSpec(study=tiny_study, cell=tiny_study.cells[-1], arm="ar", seed=0)
    Trainer(spec, examples, tmp_path, notes).run()
    assert notes.said == ("fp32 on cpu is slow",)


def test_a_driver_that_fails_is_quoted(monkeypatch: pytest.MonkeyPatch) -> None:
    def init() -> None:
        raise RuntimeError("The NVIDIA driver on your system is too old (found version 11040).\nUpdate it.")

    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    monkeypatch.setattr(torch.cuda, "init", init)
    with pytest.raises(StudyError, match=r"1 processes \(The NVIDIA .* too old \(found version 11040\)\);"):
        World().device("cuda")


@pytest.mark.parametrize("kind", ["cpu", "cuda"])
def test_compiling_without_a_compiler_is_an_error_of_the_user(kind: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("shutil.which", lambda name: None)
    with pytest.raises(StudyError, match="there is no compiler") as caught:
        train_engine._compile_blocks(torch.nn.Module(), torch.device(kind))  # type: ignore[arg-type]  # no block is reached
    assert ("gcc" if kind == "cuda" else "g++") in caught.value.remedy
