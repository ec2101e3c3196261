"""A cache of the Hugging Face Hub as huggingface_hub writes it, with a tokenizer in it."""

from __future__ import annotations

import shutil
from pathlib import Path

COMMIT = "0123456789abcdef0123456789abcdef01234567"


def cache_tokenizer(cache: Path, name: str, file: Path, *, config: str | None = "{}", commit: str = COMMIT) -> Path:
    """Put a tokenizer.json into a cache, as of a commit that is `main` from now on.

    Args:
        cache: the folder `hub`.
        name: on the Hub.
        file: the tokenizer.json.
        config: tokenizer_config.json; empty where the Hub is known to have none, None where nobody has asked for it.
        commit: of both.
    """
    folder = cache / f"models--{name.replace('/', '--')}"
    snapshot, absent = folder / "snapshots" / commit, folder / ".no_exist" / commit
    for each in (snapshot, absent, folder / "refs"):
        each.mkdir(parents=True, exist_ok=True)
    (folder / "refs" / "main").write_text(commit)
    shutil.copy(file, snapshot / "tokenizer.json")
    if config:
        (snapshot / "tokenizer_config.json").write_text(config)
    elif config is not None:
        (absent / "tokenizer_config.json").touch()
    return snapshot
