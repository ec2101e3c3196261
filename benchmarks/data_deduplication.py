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

import numpy as np

from crossover.data.corpus_sources import SourceCounts, documents
from crossover.data.deduplication.near_duplicates import NearDuplicates
from crossover.data.split_corpus import read_corpus
from crossover.study.data_config import DataConfig
from crossover.study.near_config import DeduplicationConfig

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
        for _, text in documents(DataConfig(source=source), SourceCounts()):
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
        stages = (
            ([JsonlReader(str(folder / "input")), minhash.MinhashDedupSignature(str(folder / "sigs"), config)], shards),
            ([minhash.MinhashDedupBuckets(str(folder / "sigs"), str(folder / "dups"), config=config)], buckets),
            ([minhash.MinhashDedupCluster(str(folder / "dups"), str(folder / "ids"), config, save_cluster_id=True)], 1),
        )
        for pipeline, tasks in stages:
            logs = str(folder / "logs" / str(len(pipeline)) / str(tasks))
            LocalPipelineExecutor(pipeline, tasks, min(workers, tasks), logs, start_method="fork").run()
        offsets = [0]
        for path in sorted((folder / "input").iterdir()):
            offsets.append(offsets[-1] + sum(1 for _ in path.open()))
        first, of_cluster = list(range(offsets[-1])), dict[int, int]()
        for path in sorted((folder / "ids").glob("*.clusters")):
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


def _run(tool: str, folder: Path, workers: int) -> tuple[list[int], float, float]:
    """What a tool says in a process of its own, its seconds, and its peak memory in MB."""
    again = ("-m", "benchmarks.data_deduplication", "--tool", tool, "--folder", str(folder), "--workers", str(workers))
    child = subprocess.Popen([sys.executable, *again])
    _, status, usage = os.wait4(child.pid, 0)
    if status:
        sys.exit(f"{tool} failed")
    first, seconds = json.loads((folder / "result.json").read_text())
    return first, seconds, usage.ru_maxrss / 1024


def _compare(folder: Path, workers: int) -> None:
    megabytes = sum(len(text) for text in _rows(folder)) / 1e6
    print(f"| tool | MB/s, {workers} worker(s) | peak memory, MB | false positives | recall by similarity |")
    print("| --- | --- | --- | --- | --- |")
    for tool in TOOLS:
        first, seconds, memory = _run(tool, folder, workers)
        recall, false = _scores(folder, first)
        levels = ", ".join(f"{level:.2f}: {found / pairs:.3f} of {pairs}" for level, (found, pairs) in recall.items())
        print(f"| {tool} | {megabytes / seconds:.1f} | {memory:.0f} | {false:.2%} | {levels} |", flush=True)
    print("\n| read and split | seconds | MB/s | peak memory, MB |\n| --- | --- | --- | --- |")
    for tool in READING:
        _, seconds, memory = _run(tool, folder, workers)
        print(f"| {tool} | {seconds:.1f} | {megabytes / seconds:.1f} | {memory:.0f} |", flush=True)


def main() -> None:
    """Print the tables."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--source", default="stdlib:", help="real text, as data.source of a study")
    parser.add_argument("--megabytes", type=float, default=10, help="of the input")
    parser.add_argument("--workers", type=int, default=1, help="threads of ours, processes of datatrove")
    parser.add_argument("--tool", choices={**TOOLS, **READING}, help="only run this one, in --folder")
    parser.add_argument("--folder", type=Path, help="folder of the input")
    options = parser.parse_args()
    if options.tool:
        began = time.perf_counter()
        first = {**TOOLS, **READING}[options.tool](options.folder, options.workers)
        (options.folder / "result.json").write_text(json.dumps([first, time.perf_counter() - began]))
        return
    with tempfile.TemporaryDirectory() as name:
        _write(Path(name), options.source, options.megabytes, options.workers)
        _compare(Path(name), options.workers)


if __name__ == "__main__":
    main()
