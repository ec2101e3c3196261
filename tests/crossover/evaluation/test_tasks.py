"""Tasks: formats, scores, and how a study's packs become files of its dataset."""

import gzip
import hashlib
import json
from pathlib import Path

import numpy as np
import pytest
import torch

from crossover.cli import main
from crossover.data.dataset import Dataset
from crossover.data.domain_cloze import ClozeItem
from crossover.data.prepare_dataset import prepare_dataset
from crossover.data.split_corpus import read_corpus
from crossover.data.task_items import TaskItems
from crossover.data.task_packs import Pack, catalogue, evenly, find_pack, read_pack
from crossover.decoding import Completion, Generation
from crossover.errors import DataError
from crossover.evaluation.evaluate_checkpoint import evaluate_checkpoint
from crossover.evaluation.evaluation_records import Evaluation, merge_parts
from crossover.evaluation.measurement_plan import evaluation_parts
from crossover.evaluation.task_scores import TaskScores, limit_to_model, score_task
from crossover.evaluation.tasks import FORMATS, Continuation, Scored
from crossover.evaluation.tasks.choice_tasks import first_place
from crossover.evaluation.tasks.preparing import prepare_pack, task_of
from crossover.settings import get_settings
from crossover.stages.evaluation_parts import evaluation_inputs
from crossover.study.arms import Family
from crossover.study.study_config import StudyConfig
from crossover.tokenization.tokenizer import BOS, BYTES
from crossover.training.checkpoint import save_checkpoint
from crossover.training.checkpoint_info import CheckpointInfo
from crossover.training.training_objectives import ar_nll
from tests.conftest import PACKS, needs_packs, tiny_model

ITEMS = [
    ClozeItem(id="a", cluster="x", context=(0, 1, 2), options=((3, 4), (1, 1), (2, 0), (4, 4)), gold=0),
    ClozeItem(id="b", cluster="y", context=(4, 1, 0), options=((3, 3), (0, 1), (2, 2), (1, 4)), gold=2),
]
CLOZE = Pack(name="cloze", format="tokens", licence="none", file="x", sha256="0" * 64)


def scores_of(model: torch.nn.Module, items: list[ClozeItem], draws: int) -> TaskScores:
    documents = list(enumerate(item.model_dump() for item in items))
    return score_task(model, FORMATS["tokens"], CLOZE, documents, draws=draws)  # type: ignore[arg-type]  # a model that only counts


def test_ar_scores_are_the_options_own_likelihood() -> None:
    model = tiny_model(causal=True, vocab=259)
    scores = scores_of(model, ITEMS, 9)
    with torch.inference_mode():
        nll = ar_nll(model, torch.tensor([[4, 1, 0, 2, 2]]), BOS)[0, 3:].mean()
    assert scores.items[1].option_nll[2] == pytest.approx(float(nll), rel=1e-6)
    assert (scores.ids, scores.clusters, scores.draws) == (("a", "b"), ("x", "y"), 1)


def test_dlm_scores_are_the_enumerated_bound() -> None:
    model = tiny_model(causal=False, vocab=259)

    def nll(tokens: list[int], place: int, truth: int) -> float:
        with torch.inference_mode():
            return float(-torch.log_softmax(model(torch.tensor([tokens]))[0, place].double(), -1)[truth])

    mask, (a, b) = model.mask_id, ITEMS[0].options[0]
    context = list(ITEMS[0].context)
    both = nll([*context, mask, mask], 3, a) + nll([*context, mask, mask], 4, b)
    one = nll([*context, mask, b], 3, a) + nll([*context, a, mask], 4, b)
    scores = scores_of(model, ITEMS, 4)
    assert scores.items[0].option_nll[0] == pytest.approx((both / 2 + one / 2) / 2, rel=1e-6)


def test_a_tie_is_shared_and_the_margin_is_zero() -> None:
    same = ClozeItem(id="t", cluster="z", context=(0, 1, 2), options=((3, 4),) * 4, gold=1)
    values = scores_of(tiny_model(causal=True, vocab=259), [same], 1).items[0].values
    assert values["accuracy"] == values["accuracy_norm"] == 0.25
    assert values["margin"] == pytest.approx(0.0, abs=1e-12)
    assert first_place(np.array([1.0, 2.0]), 0) == 1.0
    assert first_place(np.array([1.0, 2.0]), 1) == 0.0


def test_margin_is_distractors_minus_truth() -> None:
    item = scores_of(tiny_model(causal=False, vocab=259), ITEMS, 4).items[1]
    row = np.array(item.option_nll)
    assert item.values["margin"] == pytest.approx(np.delete(row, 2).mean() - row[2])
    assert item.values["margin"] == pytest.approx(item.values["distractor_nll"] - item.values["gold_nll"])
    assert item.correct == float(row[2] == row.min())


def asked(name: str, **changes: object) -> tuple[list[Continuation], int, Pack]:
    """The first document of a pack of the catalogue, as it is asked."""
    pack = find_pack(name, PACKS).model_copy(update=changes)
    document = next(read_pack(pack, PACKS))
    question = FORMATS[pack.format].question(document, pack)  # type: ignore[attr-defined]  # formats of questions have it
    return question.options, question.gold, pack


@needs_packs
def test_documents_are_asked_as_in_the_harness() -> None:
    options, gold, _ = asked("hellaswag")
    assert options[0].context == "Roof shingle removal: A man is sitting on a roof. He"
    assert options[3].continuation == " starts pulling up roofing on a roof."
    assert (len(options), gold) == (4, 3)
    options, gold, _ = asked("mmlu")
    assert options[0].context.startswith(  # type: ignore[union-attr]  # options of a question are continuations
        "The following are multiple choice questions (with answers) about abstract algebra.\n\nFind the degree"
    )
    assert options[0].context.endswith("\nA. 0\nB. 4\nC. 2\nD. 6\nAnswer:")  # type: ignore[union-attr]  # options of a question are continuations
    assert ([one.continuation for one in options], gold) == ([" A", " B", " C", " D"], 1)
    options, _, _ = asked("mmlu-cloze")
    assert isinstance(options[1].context, str)
    assert options[1] == ("Question: " + options[1].context[10:-8] + "\nAnswer:", " 4")
    options, gold, _ = asked("blimp")
    assert (options[0].context, options[0].continuation, gold) == (
        "",
        "Who should Derek hug after shocking Richard?",
        0,
    )
    options, gold, _ = asked("winogrande")
    assert options[1] == ("Sarah was a much better surgeon than Maria so Maria", " always got the easier cases.")


@needs_packs
@pytest.mark.parametrize("name", sorted(catalogue()))
def test_every_pack_of_the_catalogue_is_read_and_asked(name: str) -> None:
    pack = find_pack(name, PACKS)
    task, documents = task_of(pack), list(read_pack(pack, PACKS))
    assert len(documents) > 90
    for number, document in enumerate(evenly(documents, 40)):
        assert all(task.identity(document, number))
        assert task.requests(document, pack)
    assert pack.licence


@needs_packs
def test_items_are_drawn_evenly_over_a_sorted_pack() -> None:
    pack = find_pack("zorro", PACKS)
    chosen = evenly(read_pack(pack, PACKS), 46)
    assert len({document["UID"] for document in chosen}) == 23
    assert evenly(chosen, 0) == chosen
    assert evenly(chosen, 1) == [chosen[23]]


def with_tasks(study: StudyConfig, *tasks: str, length: int = 64, **changes: object) -> StudyConfig:
    return StudyConfig.model_validate(
        study.model_dump(exclude={"analysis"})  # whose metrics are of other tasks
        | {
            "evaluation": study.evaluation.model_dump() | {"tasks": tasks, "task_items": 6, **changes},
            "data": study.data.model_dump() | {"sequence_length": length},
        }
    )


def own_pack(folder: Path, name: str, rows: list[dict[str, object]], **fields: object) -> None:
    content = gzip.compress("".join(json.dumps(row) + "\n" for row in rows).encode(), mtime=0)
    (folder / f"{name}.jsonl.gz").write_bytes(content)
    digest = hashlib.sha256(content).hexdigest()
    pack = {"format": "choices", "licence": "mine", "file": f"{name}.jsonl.gz", "sha256": digest} | fields
    (folder / f"{name}.yaml").write_text(json.dumps(pack))


ROW = {"query": "two and two make", "choices": ["four", "five"], "gold": 0}


def items_of(study: StudyConfig, name: str, packs: Path, folder: Path) -> TaskItems:
    return prepare_pack(find_pack(name, packs), study, packs, folder, BYTES)


def dataset_of(study: StudyConfig, folder: Path) -> Dataset:
    with read_corpus(study.data, folder.parent / "scratch") as corpus:
        return prepare_dataset(study, corpus, folder)


def test_the_items_of_a_task_are_an_artifact(tiny_study: StudyConfig, tmp_path: Path) -> None:
    own_pack(tmp_path, "sums", [ROW] * 3 + [ROW | {"choices": ["f" * 80, "five"]}])
    items = items_of(with_tasks(tiny_study, "sums"), "sums", tmp_path, tmp_path / "items")
    manifest = items.manifest
    assert (manifest.name, manifest.items, manifest.left_out) == ("sums", 3, 1)
    assert TaskItems.open(tmp_path / "items").documents()[2] == (2, ROW)
    (file,) = manifest.files
    (tmp_path / "items" / file).write_text("{}")
    with pytest.raises(DataError, match="recorded digest"):
        TaskItems.open(tmp_path / "items")


def save_model(folder: Path, *, causal: bool, length: int) -> Path:
    """A random model, as pretraining would have saved it."""
    model = tiny_model(causal=causal, vocab=259, length=length)
    family: Family = "AR" if causal else "DLM"
    info = CheckpointInfo(
        run="c/a/seed-0",
        run_digest="sha256:x",
        arm=family.lower(),
        family=family,
        seed=0,
        step=1,
        tokens=1,
        flops=1.0,
        seconds=1.0,
        model=model.config,
    )
    save_checkpoint(folder, info, dict(model.named_parameters()))
    return folder


def measured(
    folder: Path, dataset: Dataset, tasks: dict[str, TaskItems], study: StudyConfig, *, everything: bool, causal: bool
) -> Evaluation:
    """The evaluation of a checkpoint, with or without the costly parts."""
    parts = evaluation_parts(
        study.evaluation,
        evaluation_inputs(study, dataset, tasks, study.cells[0]),
        run="sha256:run",
        family="AR" if causal else "DLM",
        step=1,
        chain_rule=everything,
        writing=everything,
    )
    return merge_parts(
        evaluate_checkpoint(folder, "sha256:x", parts, dataset, tasks, study.evaluation, cell=study.cells[0])
    )


@needs_packs
def test_a_checkpoint_is_measured_on_every_task(tiny_study: StudyConfig, tmp_path: Path) -> None:
    study = with_tasks(tiny_study, "zorro", "mmlu-cloze", "lambada", "humaneval-single-line", length=96, task_items=4)
    dataset = dataset_of(study, tmp_path / "data")
    tasks = {name: items_of(study, name, PACKS, tmp_path / name) for name in study.evaluation.tasks}
    for causal in (True, False):
        folder = save_model(tmp_path / f"c{causal}", causal=causal, length=96)
        result = measured(folder, dataset, tasks, study, everything=True, causal=causal)
        values = {m.metric: m for m in result.measurements}
        assert 0 <= values["zorro_accuracy"].value <= 1
        assert values["zorro_accuracy"].draws == (1 if causal else study.evaluation.task_draws)
        assert values["mmlu-cloze_margin"].unit == "nats/token"
        assert values["lambada_exact_match"].value == values["humaneval-single-line_pass_at_1"].value == 0.0
        assert values["lambada_gold_nll"].value > 1
        assert ("chain_rule_confidence_bpb" in values) == (not causal)
        scores = {items.task: items for items in result.items}
        assert len(scores["zorro"].option_nll) == len(scores["zorro"].ids) == 4
        assert scores["humaneval-single-line"].clusters[0].startswith("HumanEval/")
        assert scores["humaneval-single-line"].margins == ()
        assert scores["lambada"].truncated > 0
        quick = measured(folder, dataset, tasks, study, everything=False, causal=causal)
        assert {items.task for items in quick.items} == {"zorro", "mmlu-cloze"}


def test_what_a_model_cannot_serve_is_left_out_of_the_request() -> None:
    request = Generation(prompt="a", suffix="b", max_tokens=99)
    dlm, ar = tiny_model(causal=False, length=20), tiny_model(causal=True, length=20)
    blocks = tiny_model(causal=False, length=20, block_length=4)
    assert (limit_to_model(dlm, request).suffix, limit_to_model(dlm, request).max_tokens) == ("b", 10)
    assert (limit_to_model(ar, request).suffix, limit_to_model(ar, request).max_tokens) == (None, 99)
    assert limit_to_model(blocks, request).suffix is None


def writes(text: str) -> Completion:
    """What a model may answer to a task that writes."""
    return Completion(tokens=[], text=text, finish_reason="stop", prompt_tokens=0, truncated_tokens=0, forward_passes=1)


@needs_packs
@pytest.mark.parametrize("name", ["humaneval", "mbpp", "humaneval-random-span-light"])
def test_programs_pass_with_the_true_solution_and_fail_with_another(name: str) -> None:
    pack = find_pack(name, PACKS)
    task = FORMATS[pack.format]
    for document in evenly(read_pack(pack, PACKS), 5):
        truth = document["canonical_solution"] if "canonical_solution" in document else document["code"]
        for text, passed in ((truth.replace("\r", ""), 1.0), ("    assert False\n", 0.0), ("    exit(0)\n", 0.0)):
            score = task.score(document, pack, [writes(text)])
            assert (score.correct, score.values) == (passed, {"pass_at_1": passed}), document["task_id"]


def test_the_last_word_must_be_the_very_word() -> None:
    document, pack = {"context": "the cat sat on the ", "continuation": "mat"}, find_pack("lambada", PACKS)
    task = FORMATS["last-word"]
    likelihood, generation = task.requests(document, pack)
    assert likelihood == ("the cat sat on the", " mat")
    assert isinstance(generation, Generation)
    assert (generation.prompt, generation.max_tokens) == ("the cat sat on the", 4)
    scored = Scored(8.0, 0.0, 4, 3, 1)
    for text, correct in ((" mat", 1.0), (" man", 0.0), ("mat", 0.0)):
        score = task.score(document, pack, [scored, writes(text)])
        assert (score.correct, score.option_nll) == (correct, (2.0,))


BAD = [
    ("nothing", {}, [], "unknown task 'nothing'"),
    ("helaswag", {}, [], "unknown task 'helaswag'; did you mean hellaswag?"),
    ("wrong", {"sha256": "0" * 64}, [ROW], "does not have the SHA-256 0000"),
    ("absent", {"file": "elsewhere.jsonl"}, [ROW], "elsewhere.jsonl does not exist"),
    ("blank", {}, [ROW | {"choices": ["four", " "]}], "option 1 is empty"),
    ("gold", {}, [ROW | {"gold": 7}], "gold 7 is not an index into 2 options"),
    ("single", {}, [ROW | {"choices": ["four"]}], "fewer than two options"),
    ("field", {}, [{"query": "x"}], "has no field 'choices'"),
    ("kind", {"format": "riddles"}, [ROW], "unknown format 'riddles'"),
    ("both", {"hub": "some/where"}, [ROW], "give either file"),
    ("loose", {"file": "", "sha256": "", "hub": "some/where"}, [ROW], "revision of the hub dataset is missing"),
    ("free", {"licence": ""}, [ROW], "licence"),
    ("long", {}, [ROW | {"choices": ["f" * 99, "g"]}], "no item of long fits into 64 tokens"),
    ("none", {"where": {"gold": 5}}, [ROW], "none has no items"),
    ("odd", {"template": "{question}?"}, [ROW], "has no field 'question'"),
]


@pytest.mark.parametrize(("name", "fields", "rows", "words"), BAD, ids=[case[0] for case in BAD])
def test_bad_packs_are_named(
    name: str,
    fields: dict[str, object],
    rows: list[dict[str, object]],
    words: str,
    tiny_study: StudyConfig,
    tmp_path: Path,
) -> None:
    if rows:
        own_pack(tmp_path, name, rows, **fields)
    with pytest.raises(DataError, match=words) as caught:
        items_of(with_tasks(tiny_study, name), name, tmp_path, tmp_path / "data")
    assert name in str(caught.value)


def test_lines_that_are_no_documents_are_named(tmp_path: Path, tiny_study: StudyConfig) -> None:
    for content in (b"{]\n", b"[1]\n"):
        (tmp_path / "x.jsonl").write_bytes(content)
        digest = hashlib.sha256(content).hexdigest()
        (tmp_path / "x.yaml").write_text(f"{{format: choices, licence: mine, file: x.jsonl, sha256: {digest}}}")
        with pytest.raises(DataError, match=r"x\.jsonl line 1 is not a JSON object"):
            items_of(with_tasks(tiny_study, "x"), "x", tmp_path, tmp_path / "data")


@needs_packs
def test_a_pack_of_ones_own_may_start_from_a_known_one(tmp_path: Path) -> None:
    (tmp_path / "anatomy.yaml").write_text("{base: mmlu, where: {subject: anatomy}}")
    pack = find_pack("anatomy", tmp_path)
    assert (pack.format, pack.where) == ("letters", {"subject": "anatomy"})
    assert len(list(read_pack(pack, PACKS))) == 135


def test_the_command_line_says_where_packs_go(
    tiny_study: StudyConfig, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "study.json").write_text(with_tasks(tiny_study, "hellaswag").model_dump_json())
    monkeypatch.setenv("CROSSOVER_TASKS", str(tmp_path / "packs"))
    get_settings.cache_clear()
    assert main(["prepare", str(tmp_path / "study.json"), "--out", str(tmp_path / "out")]) == 2
    assert "CROSSOVER_TASKS" in capsys.readouterr().err


@pytest.mark.filterwarnings("ignore")  # of the library's own imports
def test_a_pack_may_come_through_datasets(
    tmp_path: Path, tiny_study: StudyConfig, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A local folder stands for the hub's repository; the library that reads it is the real one."""
    monkeypatch.setenv("HF_HOME", str(tmp_path / "cache"))
    (tmp_path / "repo").mkdir()
    (tmp_path / "repo" / "test.jsonl").write_text("".join(json.dumps(ROW | {"part": n}) + "\n" for n in range(4)))
    fields = {"format": "choices", "licence": "mine", "hub": str(tmp_path / "repo"), "revision": "main"}
    (tmp_path / "sums.yaml").write_text(json.dumps(fields | {"where": {"part": [1, 2]}}))
    items = items_of(with_tasks(tiny_study, "sums"), "sums", tmp_path, tmp_path / "data")
    assert items.manifest.items == 2
    (tmp_path / "gone.yaml").write_text(json.dumps(fields | {"hub": str(tmp_path / "nowhere")}))
    with pytest.raises(DataError, match="cannot be loaded from the Hugging Face hub"):
        items_of(with_tasks(tiny_study, "gone"), "gone", tmp_path, tmp_path / "data")
