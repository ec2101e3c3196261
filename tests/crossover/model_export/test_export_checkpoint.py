"""An exported model says elsewhere what it says here: transformers loads it in a process that has no Crossover."""

from __future__ import annotations

import json
import re
import subprocess
import sys
import threading
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file

from crossover.cli import main
from crossover.decoding.engine import Engine
from crossover.decoding.engine_events import Event, Failed, Finished
from crossover.decoding.generation_request import Generation
from crossover.errors import CheckpointError, WorkspaceError
from crossover.model.transformer import Transformer
from crossover.model_export.export_checkpoint import export_checkpoint
from crossover.tokenization.tokenizer import BOS, BYTES, EOS, MASK
from crossover.training.checkpoint import save_checkpoint
from crossover.training.checkpoint_info import CheckpointInfo
from tests.conftest import tiny_model

TEXT = b"def f(x):\n    return 'abc'"
LENGTH = 64
MASKED = [3, 4, 9, 15, 16, 17]
SHAPES: dict[str, tuple[dict[str, Any], str]] = {
    "ar": ({"causal": True}, "Qwen3ForCausalLM"),
    "ar-moe": ({"causal": True, "experts": 4}, "Qwen3MoeForCausalLM"),
    "dlm": ({"causal": False}, "CrossoverMaskedDiffusionLM"),
    "dlm-moe": ({"causal": False, "experts": 4}, "CrossoverMaskedDiffusionLM"),
    "dlm-expert-choice": ({"causal": False, "experts": 4, "expert_choice": True}, "CrossoverMaskedDiffusionLM"),
    "block-diffusion": ({"causal": False, "block_length": 8}, "CrossoverMaskedDiffusionLM"),
}
WITHOUT_CROSSOVER = """
import json, sys
class Absent:
    @staticmethod
    def find_spec(name, path=None, target=None):
        if name.partition(".")[0].startswith("crossover"):
            raise ModuleNotFoundError(name)
sys.meta_path.insert(0, Absent)
import torch
from transformers import AutoModelForCausalLM, AutoModelForMaskedLM
answers = {}
for name, (folder, causal, rows) in json.loads(sys.argv[1]).items():
    kind = AutoModelForCausalLM if causal else AutoModelForMaskedLM
    model = kind.from_pretrained(folder, trust_remote_code=not causal, local_files_only=True).eval()
    visible = torch.ones_like(torch.tensor(rows))
    visible[1, 20:] = 0
    with torch.inference_mode():
        logp = model(torch.tensor(rows), attention_mask=visible).logits.double().log_softmax(-1)
    answers[name] = [type(model).__name__, logp[..., :258].tolist()]
print(json.dumps(answers))
"""


def random_model(*, causal: bool, experts: int = 0, expert_choice: bool = False, block_length: int = 0) -> Transformer:
    config = tiny_model(causal=causal, vocab=259, length=LENGTH).config
    config = config.model_copy(update={"num_experts": experts, "experts_per_token": min(experts, 2)})
    model = Transformer(config, causal=causal, mask_id=MASK, block_length=block_length, expert_choice=expert_choice)
    model.initialise(torch.Generator().manual_seed(1))
    return model.eval()


def write(folder: Path, model: Transformer, *, expert_choice: bool = False) -> Path:
    """A checkpoint of the model."""
    info = CheckpointInfo(
        run="u10000-nano/a/seed-0",
        run_digest="sha256:run",
        arm="ar" if model.causal else "dlm",
        family="AR" if model.causal else "DLM",
        seed=0,
        step=7,
        tokens=1234,
        flops=1.0,
        seconds=1.0,
        model=model.config,
        block_length=model.block_length,
        expert_choice=expert_choice,
    )
    save_checkpoint(folder, info, model.state_dict())
    return folder


def rows(*, causal: bool) -> torch.Tensor:
    """Two texts of one length, the second with padding behind its 20 tokens; for a DLM some tokens are masked."""
    tokens = torch.tensor([list(TEXT), [*reversed(TEXT)]])
    if causal:
        return torch.cat((torch.full((2, 1), BOS), tokens), dim=1)
    tokens[:, MASKED] = MASK
    return tokens


@pytest.fixture(scope="module")
def elsewhere(tmp_path_factory: pytest.TempPathFactory) -> dict[str, tuple[str, list[Any]]]:
    """The class that transformers loads each exported model as, and its log-probabilities of `rows`."""
    root, work = tmp_path_factory.mktemp("exports"), {}
    for name, (shape, _) in SHAPES.items():
        checkpoint = write(root / name, random_model(**shape), expert_choice=shape.get("expert_choice", False))
        export_checkpoint(checkpoint, root / f"{name}-out")
        work[name] = (str(root / f"{name}-out"), shape["causal"], rows(causal=shape["causal"]).tolist())
    home = {"HF_HOME": str(root / "hf"), "HF_HUB_OFFLINE": "1", "PATH": "", "OMP_NUM_THREADS": "1"}
    command = [sys.executable, "-c", WITHOUT_CROSSOVER, json.dumps(work)]
    result = subprocess.run(command, capture_output=True, text=True, cwd=root, env=home, check=False)
    assert result.returncode == 0, result.stderr
    answers: dict[str, tuple[str, list[Any]]] = json.loads(result.stdout)
    return answers


@pytest.mark.parametrize("kind", SHAPES)
def test_log_probabilities_elsewhere_are_ours(kind: str, elsewhere: dict[str, tuple[str, list[Any]]]) -> None:
    shape, name = SHAPES[kind]
    loaded, values = elsewhere[kind]
    assert loaded == name
    tokens = rows(causal=shape["causal"])
    visible = torch.ones_like(tokens, dtype=torch.bool)
    visible[1, 20:] = False
    with torch.inference_mode():
        ours = random_model(**shape)(tokens, visible).double().log_softmax(-1)[..., :MASK]
    theirs = torch.tensor(values, dtype=torch.float64)
    torch.testing.assert_close(theirs[0], ours[0], rtol=0, atol=2e-5)
    torch.testing.assert_close(theirs[1, :20], ours[1, :20], rtol=0, atol=2e-5)
    assert theirs[0].exp().sum(-1).numpy() == pytest.approx(1.0, abs=1e-6), "nothing is left for MASK"


@pytest.mark.filterwarnings("ignore")  # the harness and what it imports warn of themselves
def test_the_harness_scores_an_exported_model_as_ours(tmp_path: Path) -> None:
    """Without being told of MASK or BOS; the checkpoint itself, which has MASK, is scored lower."""
    from lm_eval.api.instance import Instance
    from lm_eval.models.huggingface import HFLM

    from crossover.evaluation.lm_eval_adapter import CrossoverLM

    checkpoint = write(tmp_path / "c", random_model(causal=True))
    export_checkpoint(checkpoint, tmp_path / "out")
    requests = [
        Instance("loglikelihood", doc={}, arguments=pair, idx=i, metadata=("t", i, 1))
        for i, pair in enumerate([("def f(x):", " return"), ("", "abc"), ("é", "日本")])
    ]
    ours = [value for value, _ in CrossoverLM(str(checkpoint)).loglikelihood(requests)]
    exported, stock = (
        [value for value, _ in HFLM(pretrained=str(folder), device="cpu").loglikelihood(requests, disable_tqdm=True)]
        for folder in (tmp_path / "out", checkpoint)
    )
    assert exported == pytest.approx(ours, abs=1e-4)
    assert all(a < b - 1e-3 for a, b in zip(stock, ours, strict=True))


@pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::FutureWarning")
@pytest.mark.parametrize("causal", [True, False])
def test_its_tokenizer(causal: bool, tmp_path: Path) -> None:
    from transformers import AutoTokenizer

    export_checkpoint(write(tmp_path / "c", random_model(causal=causal)), tmp_path / "out")
    theirs = AutoTokenizer.from_pretrained(tmp_path / "out")
    for text in ("def f(x):\n\treturn 'é'", "日本語 🙂", ""):
        assert theirs.encode(text) == [*([BOS] if causal else []), *BYTES.encode(text).tolist()]
    assert len(theirs) == (258 if causal else 259)
    assert theirs.mask_token_id == (None if causal else MASK)
    assert theirs.model_max_length == (LENGTH + causal), "BOS comes on top"
    if causal:  # a text that names the token is text
        assert theirs.decode(theirs.encode("<|mask|>")[1:]) == "<|mask|>"


@pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::FutureWarning")
@pytest.mark.parametrize("block_length", [0, 8])
def test_the_card_s_examples_unmask_as_our_server_does(
    block_length: int, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    model = random_model(causal=False, block_length=block_length)
    export_checkpoint(write(tmp_path / "c", model), tmp_path / "out", corpus="sha256:corpus")
    card = (tmp_path / "out" / "README.md").read_text()
    assert "`sha256:corpus`" in card
    first, second = re.findall(r"```python\n(.*?)```", card, re.DOTALL)
    scope: dict[str, Any] = {"FOLDER": str(tmp_path / "out")}
    exec(first, scope)  # noqa: S102 - the card's own example
    filled = scope["model"].fill_masks(scope["tokens"])[0].tolist()
    exec(second, scope)  # noqa: S102 - the card's own example
    assert BYTES.decode(filled) in capsys.readouterr().out
    assert scope["tokens"][0].tolist() == filled
    assert not {EOS, MASK} & set(filled)
    suffix = None if block_length else " there was a king."
    assert filled[16:24] == _decode(model, Generation(prompt="Once upon a time", suffix=suffix, max_tokens=8))


def _decode(model: Transformer, request: Generation) -> list[int]:
    events: list[Event] = []
    done = threading.Event()

    def take(event: Event) -> None:
        events.append(event)
        if isinstance(event, Finished | Failed):
            done.set()

    engine = Engine(model)
    engine.submit(request, take)
    assert done.wait(60)
    engine.close()
    assert isinstance(events[-1], Finished), events[-1]
    return events[-1].completion.tokens


def test_weights_in_bf16(tmp_path: Path) -> None:
    checkpoint = write(tmp_path / "c", random_model(causal=True, experts=4))
    export_checkpoint(checkpoint, tmp_path / "out", dtype="bf16")
    whole, half = (load_file(folder / "model.safetensors") for folder in (checkpoint, tmp_path / "out"))
    assert {tensor.dtype for tensor in half.values()} == {torch.bfloat16}
    assert whole.keys() == half.keys()
    assert len(half["lm_head.weight"]) == len(half["model.embed_tokens.weight"]) == 258
    torch.testing.assert_close(half["lm_head.weight"], whole["lm_head.weight"][:258].bfloat16())
    assert json.loads((tmp_path / "out" / "config.json").read_text())["torch_dtype"] == "bfloat16"


def test_every_file_can_be_read_by_other_users(tmp_path: Path) -> None:
    out = tmp_path / "model"
    export_checkpoint(write(tmp_path / "checkpoint", random_model(causal=True)), out)
    assert {path.name: path.stat().st_mode & 0o444 for path in out.iterdir()} == dict.fromkeys(
        [path.name for path in out.iterdir()], 0o444
    )


def test_the_verb_and_what_it_refuses(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    checkpoint = write(tmp_path / "c", random_model(causal=True))
    assert main(["export-model", str(checkpoint), str(tmp_path / "out")]) == 0
    assert "u10000-nano/a/seed-0, step 7" in capsys.readouterr().out
    assert oct((tmp_path / "out").stat().st_mode & 0o777) == "0o755"
    with pytest.raises(WorkspaceError, match="is not an empty folder"):
        export_checkpoint(checkpoint, tmp_path / "out")
    with pytest.raises(WorkspaceError, match=r"export\.not-empty"):
        export_checkpoint(checkpoint, checkpoint / "config.json")
    (checkpoint / "config.json").write_text("{}")
    with pytest.raises(CheckpointError, match=r"config\.json does not have the recorded digest"):
        export_checkpoint(checkpoint, tmp_path / "other")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["c", "out"]
