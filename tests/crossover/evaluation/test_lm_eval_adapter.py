"""Against lm-evaluation-harness: its hf backend scores the same AR checkpoint, and its command runs ours."""

import json
import shutil
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import yaml

pytestmark = pytest.mark.filterwarnings("ignore")  # the harness and what it imports warn of themselves
import lm_eval  # noqa: E402  # after importorskip
from lm_eval.api.instance import Instance  # noqa: E402  # after importorskip
from lm_eval.api.model import LM  # noqa: E402  # after importorskip
from lm_eval.models.huggingface import HFLM  # noqa: E402  # after importorskip
from lm_eval.tasks import TaskManager  # noqa: E402  # after importorskip

from crossover.cli import main  # noqa: E402  # after importorskip
from crossover.data.task_packs import find_pack, read_pack  # noqa: E402  # after importorskip
from crossover.evaluation import lm_eval_adapter  # noqa: E402  # after importorskip
from crossover.evaluation.lm_eval_adapter import CrossoverLM  # noqa: E402  # after importorskip
from crossover.evaluation.task_scores import TaskScores, score_task  # noqa: E402  # after importorskip
from crossover.evaluation.tasks import FORMATS  # noqa: E402  # after importorskip
from crossover.model_export.export_checkpoint import export_checkpoint  # noqa: E402  # after importorskip
from crossover.tokenization.tokenizer import MASK  # noqa: E402  # after importorskip
from crossover.training.checkpoint import load_checkpoint  # noqa: E402  # after importorskip
from tests.conftest import PACKS, needs_packs  # noqa: E402  # after importorskip
from tests.crossover.decoding.test_subword_decoding import checkpoint  # noqa: E402  # after importorskip
from tests.crossover.evaluation.test_tasks import save_model  # noqa: E402  # after importorskip
from tests.crossover.tokenization.test_subword_tokenizer import BPE  # noqa: E402  # after importorskip

LENGTH, ITEMS = 1536, 40
TEXT = "the old hills and the grünen sea 😀 " * 5


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """A checkpoint of each family, wide enough for whole questions, whose guesses are far from even."""
    root = tmp_path_factory.mktemp("checkpoints")
    return {family: save_model(root / family, causal=family == "ar", length=LENGTH) for family in ("ar", "dlm")}


@pytest.fixture(scope="module")
def tasks(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The harness's own HellaSwag and MMLU anatomy, reading our files instead of the hub's."""
    folder = tmp_path_factory.mktemp("tasks")
    library = Path(lm_eval.__file__).parent / "tasks"
    shutil.copy(library / "hellaswag" / "utils.py", folder)
    about = "The following are multiple choice questions (with answers) about anatomy.\n\n"
    for name, pack, split, source, extra in (
        ("hellaswag", "hellaswag", "validation", library / "hellaswag" / "hellaswag.yaml", {}),
        ("mmlu", "mmlu", "test", library / "mmlu" / "default" / "_default_template_yaml", {"description": about}),
    ):
        rows = [d for d in read_pack(find_pack(pack, PACKS), PACKS) if d.get("subject", "anatomy") == "anatomy"]
        (folder / f"{name}.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows[:ITEMS]))
        text = source.read_text().replace("!function utils.process_docs", "PROCESS")
        fields = yaml.safe_load(text)
        for field in ("tag", "dataset_name", "training_split", "fewshot_split", "fewshot_config"):
            fields.pop(field, None)
        files = {"data_files": {split: str(folder / f"{name}.jsonl")}}
        fields |= {"task": f"our_{name}", "dataset_path": "json", "dataset_kwargs": files} | extra
        text = yaml.safe_dump(fields).replace("PROCESS", "!function utils.process_docs")
        (folder / f"{name}.yaml").write_text(text)
    return folder


def harness(model: LM, tasks: Path, name: str) -> list[dict[str, Any]]:
    """The harness's own samples of a task."""
    manager = TaskManager(include_path=str(tasks), include_defaults=False)
    result = lm_eval.simple_evaluate(
        model=model, tasks=[f"our_{name}"], task_manager=manager, log_samples=True, bootstrap_iters=0, num_fewshot=0
    )
    return sorted(result["samples"][f"our_{name}"], key=lambda sample: int(sample["doc_id"]))


def ours(folder: Path, name: str, tasks: Path) -> TaskScores:
    model, _ = load_checkpoint(folder)
    pack = find_pack(name, PACKS)
    rows = [json.loads(line) for line in (tasks / f"{name}.jsonl").read_text().splitlines()]
    return score_task(model, FORMATS[pack.format], pack, list(enumerate(rows)), draws=8)


class Unmasked(HFLM):
    """The hf backend, told that nobody predicts MASK; transformers has no place in a checkpoint to say so."""

    def _model_call(self, *args: Any, **kwargs: Any) -> torch.Tensor:  # noqa: ANN401 - HFLM's
        logits: torch.Tensor = super()._model_call(*args, **kwargs)
        logits[..., MASK] = -torch.inf
        return logits


@needs_packs
@pytest.mark.parametrize("name", ["hellaswag", "mmlu"])
def test_ar_scores_are_the_hf_backends_to_the_item(name: str, folders: dict[str, Path], tasks: Path) -> None:
    hf = Unmasked(pretrained=str(folders["ar"]), add_bos_token=True, device="cpu", dtype="float32", batch_size=4)
    theirs, result = harness(hf, tasks, name), ours(folders["ar"], name, tasks)
    assert len(theirs) == len(result.items) == ITEMS
    for sample, item in zip(theirs, result.items, strict=True):
        nll = -np.array([float(response[0]) for response in sample["filtered_resps"]])
        tokens = [len(argument[1].encode()) for argument in sample["arguments"]]
        np.testing.assert_allclose(np.array(item.option_nll) * tokens, nll, rtol=1e-4)
        assert item.values["accuracy"] == float(sample["acc"])
        if "acc_norm" in sample:
            assert item.values["accuracy_norm"] == float(sample["acc_norm"])
    assert len({item.correct for item in result.items}) == 2


@needs_packs
@pytest.mark.parametrize("family", ["ar", "dlm"])
def test_our_model_in_the_harness_scores_as_our_tasks_do(family: str, folders: dict[str, Path], tasks: Path) -> None:
    theirs = harness(CrossoverLM(str(folders[family]), draws=8), tasks, "mmlu")
    result = ours(folders[family], "mmlu", tasks)
    assert [float(sample["acc"]) for sample in theirs] == [item.correct for item in result.items]


@pytest.mark.parametrize("family", ["ar", "dlm"])
def test_the_command_runs_choices_generation_and_whole_texts(
    family: str,
    folders: dict[str, Path],
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Without the harness's own tasks, whose thousands of files take ten seconds to index."""
    monkeypatch.setattr(lm_eval.tasks, "TaskManager", partial(TaskManager, include_defaults=False))
    rows = [{"text": "the cat sat on the mat " * 90, "word": " cat"}, {"text": "a dog", "word": " sat"}]
    (tmp_path / "rows.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    common = (
        f"dataset_path: json\ndataset_kwargs: {{data_files: {{test: {tmp_path / 'rows.jsonl'}}}}}\ntest_split: test\n"
    )
    (tmp_path / "write.yaml").write_text(
        f"task: write\n{common}output_type: generate_until\ndoc_to_text: 'the'\ndoc_to_target: '{{{{word}}}}'\n"
        "generation_kwargs: {until: ['.'], max_gen_toks: 6, do_sample: false}\n"
        "metric_list: [{metric: exact_match, aggregation: mean, higher_is_better: true}]\n"
    )
    (tmp_path / "whole.yaml").write_text(
        f"task: whole\n{common}output_type: loglikelihood_rolling\ndoc_to_text: ''\ndoc_to_target: '{{{{text}}}}'\n"
        "metric_list: [{metric: bits_per_byte}]\n"
    )
    arguments = ["--model", "crossover", "--model_args", f"checkpoint={folders[family]},draws=4"]
    tasks = ["--tasks", "write,whole", "--include_path", str(tmp_path)]  # no --device, as documented
    assert main(["lm-eval", *arguments, *tasks, "--output_path", str(tmp_path / "out"), "--log_samples"]) == 0
    assert "bits_per_byte" in capsys.readouterr().out
    (results,) = (tmp_path / "out").rglob("results_*.json")
    bits = json.loads(results.read_text())["results"]["whole"]["bits_per_byte,none"]
    assert 5 < bits < 40


@pytest.mark.parametrize(
    ("device", "available", "used"),
    [(None, True, "cpu"), ("cuda:0", False, "cpu"), ("cuda:0", True, "cuda:0"), ("cuda:1", False, "cuda:1")],
)
def test_the_harness_s_default_device_is_used_where_there_is_one(
    monkeypatch: pytest.MonkeyPatch, device: str | None, available: bool, used: str
) -> None:
    """The case of instructlab/eval#21; another CUDA device was requested, and fails where it is missing."""
    loaded: list[str] = []
    monkeypatch.setattr(torch.cuda, "is_available", lambda: available)

    def load(_: Path, *, device: str) -> tuple[None, None]:
        loaded.append(device)
        return None, None

    monkeypatch.setattr(lm_eval_adapter, "load_checkpoint", load)
    CrossoverLM("checkpoint", device=device)
    assert loaded == [used]


def test_whole_texts_are_exact_for_ar(folders: dict[str, Path]) -> None:
    from lm_eval.api.instance import Instance

    model = CrossoverLM(str(folders["ar"]))
    text = "a text that fits"
    request = Instance(request_type="loglikelihood_rolling", doc={}, arguments=(text,), idx=0)
    with torch.inference_mode():
        tokens = torch.tensor([[256, *text.encode()]])
        logp = model.model(tokens[:, :-1]).double().log_softmax(-1)[0].gather(1, tokens[0, 1:, None]).sum()
    assert model.loglikelihood_rolling([request]) == pytest.approx([float(logp)], rel=1e-5)


def test_subwords_score_and_write_as_the_hf_backend_does(tmp_path: Path) -> None:
    """The harness's own backend reads the export, whose tokenizer.json is the checkpoint's."""
    folder = checkpoint(tmp_path / "c", causal=True)
    export_checkpoint(folder, tmp_path / "out")
    theirs = HFLM(str(tmp_path / "out"), device="cpu", batch_size=1, dtype="float32", add_bos_token=True)
    ours = CrossoverLM(str(folder))
    pairs = [("the grünen 😀 hills", " and the sea"), ("the old", " sea"), ("", "the green hills")]
    asked = [Instance("loglikelihood", {}, pair, i, ("t", i, 1)) for i, pair in enumerate(pairs)]
    found, expected = ours.loglikelihood(asked), theirs.loglikelihood(asked, disable_tqdm=True)
    assert [value for value, _ in found] == pytest.approx([value for value, _ in expected], rel=1e-4)
    rolling = [Instance("loglikelihood_rolling", {}, (TEXT,), 0, ("t", 0, 1))]
    assert len(BPE.encode(TEXT)) < 47, "one window in both"
    plain = HFLM(str(tmp_path / "out"), device="cpu", batch_size=1, dtype="float32", add_bos_token=False)
    (ours_all,), (theirs_all,) = ours.loglikelihood_rolling(rolling), plain.loglikelihood_rolling(rolling, True)
    assert ours_all == pytest.approx(theirs_all, rel=1e-4)
    until = [Instance("generate_until", {}, ("the old", {"until": ["\n"], "max_gen_toks": 8}), 0, ("t", 0, 1))]
    assert ours.generate_until(until) == theirs.generate_until(until, disable_tqdm=True)
