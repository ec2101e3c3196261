"""Near-deduplication beside datatrove's MinHash pipeline: recall, false positives, speed and memory on one input.

Run `python -m benchmarks.data_deduplication [--source SOURCE] [--megabytes N] [--workers N]`. Documents are cut from
real text; of every tenth a changed copy is planted, whose true Jaccard similarity is computed from the words
themselves. Both read the same JSON lines and say which documents are near-duplicates; nothing is written back. A second
table has what counting costs when a corpus is read and split. Each runs in a process of its own.

datatrove's word tokenizers need spaCy, which the extra `data` does not install, and its xxHash call fails with
xxhash 4; it gets `str.split`, which is faster, and the same hash of the encoded text.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import struct
import subprocess
import sys
import tempfile
import time
from collections import defaultdict
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NamedTuple

import numpy as np

from benchmarks.peak_memory import PeakMemory
from crossover.data.deduplication.near_duplicates import NearDuplicates
from crossover.data.sources import SourceCounts, documents
from crossover.data.split_corpus import read_corpus
from crossover.study.data_config import DataConfig
from crossover.study.deduplication_config import DeduplicationConfig

PLANTED = (0.95, 0.9, 0.85, 0.8, 0.75, 0.7, 0.6, 0.5)
ALIKE = 0.6
"""A document is a false positive if its cluster has none that is so similar to it."""
SHINGLE = 5
LENGTHS = (60, 1500)


def _write(folder: Path, source: str, megabytes: float, shards: int) -> None:
    """The input: `N.jsonl` of every shard, and `pairs.json` with the planted pairs and their similarity."""
    draw, pairs, size, rows = np.random.default_rng(0), [], 0, list[str]()
    words = _words(source)
    while size < megabytes * 1e6:
        document = [next(words) for _ in range(draw.integers(*LENGTHS))]
        rows.append(" ".join(document))
        size += len(rows[-1])
        if len(rows) % 10 == 0:
            copy = _changed(document, float(draw.choice(PLANTED)), draw)
            pairs.append((len(rows) - 1, len(rows), _jaccard(document, copy)))
            rows.append(" ".join(copy))
    order = draw.permutation(len(rows)).tolist()
    place = {row: number for number, row in enumerate(order)}
    (folder / "pairs.json").write_text(json.dumps([(place[a], place[b], similarity) for a, b, similarity in pairs]))
    part = -(-len(order) // shards)
    (folder / "input").mkdir()
    for shard in range(shards):
        with (folder / "input" / f"{shard}.jsonl").open("w") as file:
            for number in range(shard * part, min((shard + 1) * part, len(order))):
                file.write(json.dumps({"id": str(number), "text": rows[order[number]]}) + "\n")


def _words(source: str) -> Iterator[str]:
    """Words of letters alone, so that both see the same shingles; a second round of the source is shuffled."""
    rounds = 0
    while True:
        for _, text, _ in documents(DataConfig(source=source), SourceCounts()):
            words = re.findall("[a-z]+", text.lower())
            if rounds:
                np.random.default_rng(rounds).shuffle(words)
            yield from words
        rounds += 1


def _changed(words: list[str], similarity: float, draw: np.random.Generator) -> list[str]:
    """A copy with so many words replaced, each in shingles of its own, that the similarity is at least as given."""
    shingles = len(words) - SHINGLE + 1
    count = int(shingles * (1 - similarity) / (1 + similarity) / SHINGLE)
    copy = list(words)
    for place in draw.choice(np.arange(SHINGLE, len(words) - SHINGLE, SHINGLE), count, replace=False):
        copy[place] = "".join(draw.choice(list("abcdefghij"), 9))
    return copy


def _jaccard(one: list[str], other: list[str]) -> float:
    a, b = ({tuple(words[i : i + SHINGLE]) for i in range(len(words) - SHINGLE + 1)} for words in (one, other))
    return len(a & b) / len(a | b)


def _rows(folder: Path) -> Iterator[str]:
    for path in sorted((folder / "input").glob("*.jsonl"), key=lambda path: int(path.stem)):
        with path.open() as file:
            yield from (json.loads(line)["text"] for line in file)


def _crossover(folder: Path, workers: int) -> list[int]:
    import hashlib

    with NearDuplicates(DeduplicationConfig(), folder / "scratch", workers) as near:
        for text in _rows(folder):
            near.add(hashlib.sha256(text.encode()).digest(), text)
        return [int(first) for first in near.first_of_cluster()]


def _datatrove(buckets: int, rows: int) -> Callable[[Path, int], list[int]]:
    def run(folder: Path, workers: int) -> list[int]:
        import xxhash
        from datatrove.executor import LocalPipelineExecutor
        from datatrove.pipeline.dedup import minhash
        from datatrove.pipeline.readers import JsonlReader
        from datatrove.utils.logging import logger

        class Split:
            def word_tokenize(self, text: str) -> list[str]:
                return text.split()

        logger.remove()
        logger.add = logger.remove = lambda *_, **__: 0  # each task sets it up anew
        minhash.load_word_tokenizer = lambda _: Split()
        minhash.create_hash_func = lambda _: lambda text: xxhash.xxh64_intdigest(text.encode())
        config = minhash.MinhashConfig(n_grams=SHINGLE, num_buckets=buckets, hashes_per_bucket=rows)
        shards = len(list((folder / "input").iterdir()))
        sigs, dups, ids, logs = (str(folder / f"{buckets}" / part) for part in ("sigs", "dups", "ids", "logs"))
        stages = (
            ([JsonlReader(str(folder / "input")), minhash.MinhashDedupSignature(sigs, config)], shards),
            ([minhash.MinhashDedupBuckets(sigs, dups, config=config)], buckets),
            ([minhash.MinhashDedupCluster(dups, ids, config, save_cluster_id=True)], 1),
        )
        for pipeline, tasks in stages:
            name = pipeline[-1].name.split()[-1]
            LocalPipelineExecutor(pipeline, tasks, min(workers, tasks), f"{logs}/{name}", start_method="fork").run()
        offsets = [0]
        for path in sorted((folder / "input").iterdir()):
            offsets.append(offsets[-1] + sum(1 for _ in path.open()))
        first, of_cluster = list(range(offsets[-1])), dict[int, int]()
        for path in sorted(Path(ids).glob("*.clusters")):
            for document, cluster in struct.iter_unpack("<2I", path.read_bytes()):
                number = offsets[int(path.stem)] + document
                first[number] = of_cluster.setdefault(cluster, number)
        return first

    return run


def _prepared(near: str, mode: str) -> Callable[[Path, int], list[int]]:
    def run(folder: Path, workers: int) -> list[int]:
        os.environ["CROSSOVER_THREADS"] = str(workers)
        sections = {"deduplication": {"near": near}, "contamination": {"mode": mode}}
        data = DataConfig.model_validate({"source": f"jsonl:{folder}/input/*.jsonl", **sections})
        with read_corpus(data, folder / "scratch"):
            return []

    return run


TOOLS = {
    "crossover": _crossover,
    "datatrove, 14 x 8 (its default)": _datatrove(14, 8),
    "datatrove, 20 x 6": _datatrove(20, 6),
}
READING = {
    "neither": _prepared("off", "off"),
    "near-duplicates counted": _prepared("count", "off"),
    "contamination counted": _prepared("off", "count"),
    "both counted (default)": _prepared("count", "count"),
    "both dropped": _prepared("drop", "drop"),
}
"""What reading a corpus costs: the whole way from the source to the scratch files of both sides."""


def _scores(folder: Path, first: list[int]) -> tuple[dict[float, tuple[int, int]], float]:
    """Found and planted pairs by their true similarity, in steps of 0.05, and the share of false positives."""
    found: dict[float, list[bool]] = defaultdict(list)
    for one, other, similarity in json.loads((folder / "pairs.json").read_text()):
        found[int(similarity * 20 + 1e-9) / 20].append(first[one] == first[other])
    clusters: dict[int, list[int]] = defaultdict(list)
    for document, representative in enumerate(first):
        clusters[representative].append(document)
    texts = [text.split() for text in _rows(folder)]
    false = sum(
        max(_jaccard(texts[one], texts[other]) for other in members[:50] if other != one) < ALIKE
        for members in clusters.values()
        if len(members) > 1
        for one in members
    )
    return {level: (sum(pairs), len(pairs)) for level, pairs in sorted(found.items())}, false / len(first)


class Outcome(NamedTuple):
    """What a tool said and took."""

    first: list[int]
    """The first document of each one's cluster."""
    seconds: float
    cpu_seconds: float
    megabytes: float
    """Peak memory of its largest process, as `PeakMemory` has it."""


def _run(folder: Path, *arguments: str) -> Outcome:
    """Run this file in a process of its own, whose peak has nothing of the other tools'."""
    child = subprocess.Popen([sys.executable, "-m", "benchmarks.data_deduplication", "--folder", folder, *arguments])
    began = time.perf_counter()
    _, status, usage = os.wait4(child.pid, 0)
    seconds = time.perf_counter() - began
    if status:
        sys.exit(f"{arguments} failed")
    first, peak = json.loads((folder / "outcome.json").read_text())
    return Outcome(first, seconds, usage.ru_utime + usage.ru_stime, peak / 1e6)


def _print(folder: Path, outcomes: dict[str, Outcome], workers: int) -> None:
    size = sum(len(text) for text in _rows(folder)) / 1e6
    print(f"{size:.0f} MB, {workers} worker(s)\n")
    print("| tool | MB/s | MB per CPU second | peak memory, MB | false positives | recall by similarity |")
    print("| --- | --- | --- | --- | --- | --- |")
    for tool in TOOLS:
        first, seconds, cpu, memory = outcomes[tool]
        recall, false = _scores(folder, first)
        levels = ", ".join(f"{level:.2f}: {found / pairs:.3f} of {pairs}" for level, (found, pairs) in recall.items())
        print(f"| {tool} | {size / seconds:.1f} | {size / cpu:.1f} | {memory:.0f} | {false:.2%} | {levels} |")
    print("\n| read and split | seconds | CPU seconds | peak memory, MB |\n| --- | --- | --- | --- |")
    for tool in READING:
        _, seconds, cpu, memory = outcomes[tool]
        print(f"| {tool} | {seconds:.1f} | {cpu:.1f} | {memory:.0f} |")


def main() -> None:
    """Print the tables."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--source", default="stdlib:", help="real text, as data.source of a study")
    parser.add_argument("--megabytes", type=float, default=10, help="of the input")
    parser.add_argument("--workers", type=int, default=1, help="threads of ours, processes of datatrove")
    parser.add_argument("--folder", type=Path, help="only run one tool on the input in this folder, or write it")
    parser.add_argument("--tool", choices={**TOOLS, **READING})
    options = parser.parse_args()
    if options.tool:
        memory = PeakMemory()
        first = {**TOOLS, **READING}[options.tool](options.folder, options.workers)
        (options.folder / "outcome.json").write_text(json.dumps((first, memory.peak())))
    elif options.folder:
        _write(options.folder, options.source, options.megabytes, options.workers)
        (options.folder / "outcome.json").write_text("[[], 0]")
    else:
        with tempfile.TemporaryDirectory() as name:
            workers = ("--workers", str(options.workers))
            _run(Path(name), "--source", options.source, "--megabytes", str(options.megabytes), *workers)
            outcomes = {tool: _run(Path(name), "--tool", tool, *workers) for tool in (*TOOLS, *READING)}
            _print(Path(name), outcomes, options.workers)


if __name__ == "__main__":
    main()
