"""A corpus of several files with equal and nearly equal documents in different files, bad lines, and documents that
cleaning leaves out or changes, for every kind of corpus that shards are made of."""

import json
from pathlib import Path
from typing import Any

import numpy as np

from crossover.data.dataset import Dataset
from crossover.data.prepare_dataset import prepare_dataset
from crossover.data.shards.shard_plan import plan_shards
from crossover.data.shards.shard_processes import make_shards
from crossover.data.split_corpus import read_corpus
from crossover.study.data_config import DataConfig
from crossover.study.study_config import StudyConfig

WORDS = "data batch loss step model token list seed path file graph node tree value index key alpha beta gamma".split()
FILES = 9


def write_corpus(folder: Path, name: str = "part", seed: int = 0, files: int = FILES) -> Path:
    """JSON lines: file k repeats a document of file k - 1 and one of file 0, and has one nearly like file k - 2's."""
    folder.mkdir(parents=True, exist_ok=True)
    draw, texts = np.random.default_rng(seed), list[list[str]]()
    for number in range(files):
        own = ["\n\n".join(" ".join(draw.choice(WORDS, 40)) for _ in range(3)) for _ in range(6 + number)]
        own.append(
            f"a key of nobody: AKIA{'ABCDEFGHIJKLMNOP'[number:]}{'0' * number} " + " ".join(draw.choice(WORDS, 60))
        )
        if number:
            own += [texts[number - 1][0], texts[0][1], f"{own[0].split(chr(10))[0]}\n\nmore {number} of it, {own[1]}"]
        if number > 1:
            own.append(f"Copyright {number}\n{texts[number - 2][2]}")
        texts.append(own)
        lines = [json.dumps({"text": text}) for text in (*own, "short", "  ")]
        lines[2:2] = ["{not JSON", json.dumps({"other": number})] if number % 2 else []
        (folder / f"{name}-{number}.jsonl").write_text("\n".join(lines) + "\n")
    return folder


def configs(folder: Path) -> dict[str, dict[str, Any]]:
    """Settings of corpora in a folder that is filled."""
    source = f"jsonl:{write_corpus(folder / 'one')}"
    other = f"jsonl:{write_corpus(folder / 'two', 'other', seed=1, files=4)}"
    tree = folder / "tree"
    for number in range(40):
        package = tree / f"package{number % 3}"
        package.mkdir(parents=True, exist_ok=True)
        (package / f"module{number}.py").write_text(f"def f{number}(x):\n    return x + {number}\n" * 9)
        (package / "LICENSE").write_text("Permission is hereby granted, free of charge\n")
    cleaning = {"minimum_characters": 20, "secrets": True, "control_characters": True}
    skip: dict[str, Any] = {"bad_documents": "skip", "cleaning": cleaning}
    sources = [{"source": source, "share": 0.7}, {"source": other, "share": 0.3}]
    return {
        "cleaned": {"source": source, **skip},
        "dropped": {"source": source, **skip, "deduplication": {"near": "drop"}, "contamination": {"mode": "drop"}},
        "one side": {"source": source, **skip, "deduplication": {"near": "split"}, "quality": {"scorer": "perplexity"}},
        "near off": {"source": source, **skip, "deduplication": {"near": "off"}, "tokenizer": "bpe:300"},
        "paragraphs": {"source": source, **skip, "deduplication": {"exact": "paragraph", "near": "drop"}},
        "mixture": {"sources": sources, **skip},
        "mixture of lines": {"sources": sources, **skip, "deduplication": {"exact": "line"}},
        "tree": {"source": f"tree:{tree}"},
    }


def study_of(data: dict[str, Any]) -> StudyConfig:
    """A study of the smallest budget."""
    values = {"validation_fraction": 0.2, "validation_tokens": 128, **data}
    return StudyConfig.model_validate({"name": "shards", "data": values, "grid": {"unique_tokens": [512]}})


def shards_of(data: DataConfig, of: int, folder: Path, workers: int = 1) -> list[Path]:
    """All shards of a corpus, written."""
    sources = plan_shards(data, of)
    make_shards(data, sources, folder, workers)
    return [folder / source.name for source in sources]


def dataset_of(study: StudyConfig, shards: list[Path], folder: Path) -> Dataset:
    """The dataset that is merged of shards; of none by what `crossover prepare` does alone."""
    with read_corpus(study.data, folder / "scratch", shards=shards) as corpus:
        return prepare_dataset(study, corpus, folder / "dataset")


def content_of(folder: Path) -> dict[str, bytes]:
    """Every file of a folder."""
    return {path.name: path.read_bytes() for path in sorted(folder.iterdir())}
