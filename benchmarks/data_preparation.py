"""From JSON lines to examples of tokens: Crossover, `datasets.map` with `tokenizers`, and datatrove, on one input.

Run `python -m benchmarks.data_preparation [--source SOURCE] [--megabytes N] [--repeats N]`. The input is real text, cut
into documents of a few kilobytes, every fiftieth one twice. The work is the same for all: read, normalise (Unicode NFC,
line ends, blanks at line ends), drop equal documents, make tokens, cut examples of 1,024, write them. datatrove's own
tokenization step stands for it there, with its exact deduplication left out, which is a pipeline of three further
passes. Crossover is also measured as it is by default: with near-duplicates and contamination counted.

Each runs in a process of its own, in turns; the table has medians, and the largest peak of memory of the process and
its children. The second table is reading: random batches of the examples back. With `--shards` instead: seconds and
peak memory of making the shards of the same input by 1, 2, ... processes, up to the cores, and of their merge.
"""

from __future__ import annotations

import argparse
import json
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.calibration.detectors import markdown
from benchmarks.peak_memory import PeakMemory
from crossover.data.cleaning.normalisation import normalise
from crossover.data.dataset import Dataset
from crossover.data.prepare_dataset import prepare_dataset
from crossover.data.shards.shard_plan import plan_shards
from crossover.data.shards.shard_processes import make_shards
from crossover.data.sources import SourceCounts, documents
from crossover.data.split_corpus import read_corpus
from crossover.settings import available_cores
from crossover.study.data_config import DataConfig
from crossover.study.study_config import StudyConfig
from crossover.tokenization.subword_tokenizer import SubwordTokenizer

LENGTH = 1024
ROWS = 8192
SAMPLE_BYTES = 20_000_000
POOL = 100_000_000
"""Characters of the source from which further documents are drawn."""
TARGETS = {"datasets.map": 1.5, "datatrove": 1.0}
TOKENS_A_SECOND, BATCH = 1_000_000, 32
"""A step of training that reading may delay by 1 %."""


def study(folder: Path, tokenizer: str, *, counted: bool) -> StudyConfig:
    """The same work as the peers', or with what is counted by default."""
    data: dict[str, Any] = {
        "source": f"jsonl:{folder}/input.jsonl",
        "tokenizer": "bytes" if tokenizer == "bytes" else f"hf:{folder}/tokenizer.json",
        "sequence_length": LENGTH,
        "packing": "stream",
        "validation_fraction": 0.01,
        "resample": True,
    }
    if not counted:
        data |= {"deduplication": {"near": "off"}, "contamination": {"mode": "off"}}
    return StudyConfig.model_validate({"data": data, "grid": {"unique_tokens": [LENGTH]}, "evaluation": {"tasks": []}})


def crossover(folder: Path, tokenizer: str, *, counted: bool = False) -> int:
    """Prepare a dataset that holds all examples; returns their tokens."""
    config = study(folder, tokenizer, counted=counted)
    with tempfile.TemporaryDirectory(dir=folder) as out, read_corpus(config.data, Path(out) / "scratch") as corpus:
        return prepare_dataset(config, corpus, Path(out) / "dataset").manifest.available_tokens


def counted(folder: Path, tokenizer: str) -> int:
    """The same with near-duplicates and contamination counted, which is the default."""
    return crossover(folder, tokenizer, counted=True)


def datasets_map(folder: Path, tokenizer: str) -> int:
    """`datasets` as its documentation has it: map in batches by several processes, filter, group, write."""
    from datasets.load import load_dataset
    from datasets.utils.tqdm import disable_progress_bars

    disable_progress_bars()
    cores = available_cores()
    rows = load_dataset("json", data_files=str(folder / "input.jsonl"), split="train", cache_dir=str(folder / "cache"))
    encode = _encoder(folder, tokenizer)

    def tokens(batch: dict[str, list[str]]) -> dict[str, list[list[int]]]:
        return {"ids": encode([normalise(text) for text in batch["text"]])}

    seen: set[int] = set()

    def is_new(text: str) -> bool:
        before = len(seen)
        seen.add(hash(normalise(text)))
        return len(seen) > before

    def grouped(batch: dict[str, list[list[int]]]) -> dict[str, list[list[int]]]:
        joined = [token for ids in batch["ids"] for token in ids]
        return {"ids": [joined[i : i + LENGTH] for i in range(0, len(joined) - LENGTH + 1, LENGTH)]}

    rows = rows.filter(is_new, input_columns="text", load_from_cache_file=False)
    rows = rows.map(tokens, batched=True, num_proc=cores, remove_columns=["text"], load_from_cache_file=False)
    rows = rows.map(grouped, batched=True, num_proc=cores, load_from_cache_file=False)
    with (folder / "datasets.bin").open("wb") as file:
        for batch in rows.with_format("numpy").iter(batch_size=1000):
            file.write(np.asarray(batch["ids"], dtype=np.uint16).tobytes())
    return len(rows) * LENGTH


def _encoder(folder: Path, tokenizer: str) -> Callable[[list[str]], list[list[int]]]:
    if tokenizer == "bytes":
        return lambda texts: [[*text.encode(), 257] for text in texts]
    import tokenizers

    library = tokenizers.Tokenizer.from_file(str(folder / "tokenizer.json"))
    end = library.token_to_id("<|eos|>") or 0
    return lambda texts: [[*one.ids, end] for one in library.encode_batch(texts, add_special_tokens=False)]


def datatrove(folder: Path, tokenizer: str) -> int:
    """Datatrove's reader, our normalisation as a formatter, and its tokenization step, one task a core."""
    from datatrove.executor import LocalPipelineExecutor
    from datatrove.pipeline.formatters.base import BaseFormatter
    from datatrove.pipeline.readers import JsonlReader
    from datatrove.pipeline.tokens import DocumentTokenizer
    from datatrove.utils.logging import logger

    class Normalise(BaseFormatter):  # type: ignore[misc]  # datatrove has no types
        name = "normalise"

        def format(self, text: str) -> str:
            return normalise(text)

    logger.remove()
    logger.add = logger.remove = lambda *_, **__: 0
    with tempfile.TemporaryDirectory(dir=folder) as out:
        steps = [
            JsonlReader(str(folder / "shards")),
            Normalise(),
            DocumentTokenizer(
                f"{out}/tokens",
                tokenizer_name_or_path=str(folder / "tokenizer.json"),
                eos_token="<|eos|>",  # noqa: S106 - no password
            ),
        ]
        cores = available_cores()
        LocalPipelineExecutor(pipeline=steps, tasks=cores, workers=cores, logging_dir=f"{out}/logs").run()
        return sum(path.stat().st_size // 2 for path in Path(out, "tokens").rglob("*.ds"))


def shards(folder: Path, workers: int) -> None:
    """Make the shards of the input, which are then there to be merged: as many as cores, whatever the workers."""
    data = study(folder, "bytes", counted=True).data.model_copy(update={"source": f"jsonl:{folder}/parts"})
    make_shards(data, plan_shards(data, available_cores()), folder / "made", workers)


def merge(folder: Path) -> None:
    """From finished shards to a dataset."""
    config = study(folder, "bytes", counted=True)
    data = config.data.model_copy(update={"source": f"jsonl:{folder}/parts"})
    made = [folder / "made" / source.name for source in plan_shards(data, available_cores())]
    with tempfile.TemporaryDirectory(dir=folder) as out, read_corpus(data, Path(out) / "s", shards=made) as corpus:
        prepare_dataset(config.model_copy(update={"data": data}), corpus, Path(out) / "dataset")


def _shard_table(folder: Path, size: int, repeats: int, fewest: int) -> None:
    rows = []
    for workers in range(fewest, available_cores() + 1):
        found = [measure(f"shards {workers}", folder, "bytes") for _ in range(repeats)]
        rows.append((f"shards, {workers} processes", found))
    rows.append(("merge", [measure("merge", folder, "bytes") for _ in range(repeats)]))
    head = ("", "seconds", "MB of text/s", "peak memory of a process, MB")
    cells = []
    for name, found in rows:
        seconds = statistics.median(row[0] for row in found)
        peak = max(row[1] for row in found)
        cells.append([name, f"{seconds:.1f}", f"{size / 1e6 / seconds:.1f}", f"{peak / 1e6:,.0f}"])
    print(markdown(head, cells))


PEERS: dict[str, Callable[[Path, str], int]] = {
    "crossover": crossover,
    "crossover, with what it counts by default": counted,
    "datasets.map": datasets_map,
    "datatrove": datatrove,
}


def write_input(folder: Path, source: str, megabytes: float, parts: int = 0) -> int:
    """The input as one file and in two shards, or in so many parts, and a BPE tokenizer of its beginning.

    Returns:
        Bytes of text.
    """
    size, sample = 0, list[str]()
    names = [f"parts/{part:03}.jsonl" for part in range(parts)] or ["shards/0.jsonl", "shards/1.jsonl"]
    (folder / names[0]).parent.mkdir()
    with ExitStack() as stack:
        files = [stack.enter_context((folder / name).open("w")) for name in names]
        every = None if parts else stack.enter_context((folder / "input.jsonl").open("w"))
        for number, text in enumerate(_texts(source)):
            line = json.dumps({"text": text}) + "\n"
            for _ in range(2 if number % 50 == 49 else 1):
                files[number % len(files)].write(line)
                if every is not None:
                    every.write(line)
                size += len(text.encode())
            if size < SAMPLE_BYTES:
                sample.append(text)
            if size >= megabytes * 1e6:
                break
    tokenizer = SubwordTokenizer.train(ROWS, sample)
    (folder / "tokenizer.json").write_text(tokenizer.json_text)
    return size


def _texts(source: str) -> Iterator[str]:
    """Documents of a few kilobytes; where the source ends, further ones of pieces of 8 lines, drawn at random."""
    draw, pieces, held = np.random.default_rng(0), list[str](), 0
    for _, text, _ in documents(DataConfig(source=source), SourceCounts()):
        start = 0
        while start < len(text):
            end = start + int(draw.integers(500, 8000))
            yield text[start:end]
            start = end
        if held < POOL:
            lines = text.splitlines(keepends=True)
            pieces += ["".join(lines[i : i + 8]) for i in range(0, len(lines), 8)]
            held += len(text)
    while True:
        yield "".join(pieces[i] for i in draw.integers(0, len(pieces), int(draw.integers(2, 24))))


def measure(peer: str, folder: Path, tokenizer: str) -> tuple[float, int, int]:
    """Seconds, peak bytes and tokens of a peer in a process of its own."""
    command = [sys.executable, "-m", "benchmarks.data_preparation", "--peer", peer, "--folder", str(folder)]
    done = subprocess.run([*command, "--tokenizer", tokenizer], capture_output=True, text=True, check=False)
    if done.returncode:
        raise RuntimeError(done.stderr[-2000:])
    seconds, peak, tokens = json.loads(done.stdout.splitlines()[-1])
    return seconds, peak, tokens


def main() -> int:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--source", default="stdlib:")
    parser.add_argument("--megabytes", type=float, default=100)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--shards", action="store_true", help="measure shards and their merge")
    parser.add_argument("--fewest", type=int, default=1, help="processes that --shards begins with")
    parser.add_argument("--peer", help=argparse.SUPPRESS)
    parser.add_argument("--folder", type=Path, help=argparse.SUPPRESS)
    parser.add_argument("--tokenizer", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.peer:
        return _one(options)
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        size = write_input(folder, options.source, options.megabytes, 4 * available_cores() if options.shards else 0)
        print(f"{size / 1e6:,.0f} MB of text, {available_cores()} cores, {options.repeats} rounds\n")
        if options.shards:
            _shard_table(folder, size, options.repeats, options.fewest)
            return 0
        for tokenizer in ("bytes", "bpe"):
            peers = [peer for peer in PEERS if tokenizer == "bpe" or peer != "datatrove"]
            found = {peer: list[tuple[float, int, int]]() for peer in peers}
            for _ in range(options.repeats):
                for peer in peers:
                    found[peer].append(measure(peer, folder, tokenizer))
            own = statistics.median(row[0] for row in found["crossover"])
            print(f"### {'Bytes' if tokenizer == 'bytes' else f'BPE of {ROWS:,} rows'}\n")
            print(markdown(HEAD, [_line(peer, rows, size, own) for peer, rows in found.items()]), "\n", flush=True)
        _reading(folder)
    return 0


HEAD = ("", "MB of text/s", "crossover is so many times as fast", "target", "peak memory, MB", "tokens, millions")


def _line(peer: str, rows: list[tuple[float, int, int]], size: int, own: float) -> list[str]:
    seconds = statistics.median(row[0] for row in rows)
    peak, target = max(row[1] for row in rows), TARGETS.get(peer)
    cells = [peer, f"{size / 1e6 / seconds:.1f}", f"{seconds / own:.2f}", f"{target}" if target else ""]
    return [*cells, f"{peak / 1e6:,.0f}", f"{rows[0][2] / 1e6:.1f}"]


def _one(options: argparse.Namespace) -> int:
    memory = PeakMemory()
    began = time.perf_counter()
    tokens, (kind, _, workers) = 0, options.peer.partition(" ")
    if options.peer in PEERS:
        tokens = PEERS[options.peer](options.folder, options.tokenizer)
    elif kind == "shards":
        shards(options.folder, int(workers))
    else:
        merge(options.folder)
    seconds = time.perf_counter() - began
    print(json.dumps((seconds, memory.peak(), tokens)))
    return 0


def _reading(folder: Path) -> None:
    """Time to gather a batch of random examples from the memory-mapped file, as training does."""
    config = study(folder, "bytes", counted=False)
    with read_corpus(config.data, folder / "scratch") as corpus:
        dataset: Dataset = prepare_dataset(config, corpus, folder / "dataset")
    rows = np.memmap(folder / "dataset" / "train.bin", dtype="<u2", mode="r").reshape(-1, LENGTH)
    draw, times = np.random.default_rng(0), []
    for _ in range(200):
        picked = draw.integers(0, len(rows), BATCH)
        began = time.perf_counter()
        rows[picked].astype(np.int64)
        times.append(time.perf_counter() - began)
    step, wait = BATCH * LENGTH / TOKENS_A_SECOND, statistics.median(times)
    print(f"Reading {BATCH} random examples of {dataset.manifest.available_tokens:,} tokens: {1e3 * wait:.3f} ms, ")
    print(f"{100 * wait / step:.2f} % of a step at {TOKENS_A_SECOND:,} tokens/s (target 1 %).")


if __name__ == "__main__":
    raise SystemExit(main())
