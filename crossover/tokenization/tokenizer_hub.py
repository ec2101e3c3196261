"""Tokenizer files of the Hugging Face Hub: both of one commit, from the cache first."""

from __future__ import annotations

from pathlib import Path

from crossover.errors import DataError, first_line

_FILE, _CONFIG = "tokenizer.json", "tokenizer_config.json"


def from_hub(name: str) -> tuple[Path, Path, str]:
    """The files of a name on the Hub. Cache and offline mode are those of huggingface_hub (HF_HOME, HF_HUB_OFFLINE).

    Returns:
        tokenizer.json; tokenizer_config.json, which does not exist where the Hub has none; and their commit.

    Raises:
        DataError: it is no such name, or a file is neither cached nor can be fetched.
    """
    try:
        from huggingface_hub import try_to_load_from_cache
        from huggingface_hub.errors import HFValidationError
    except ImportError as error:
        raise no_tokenizer(name, "is no file, and huggingface_hub, which fetches names, is not installed") from error
    try:
        cached = try_to_load_from_cache(name, _FILE)
    except HFValidationError as error:
        raise no_tokenizer(name, f"is neither a file nor a name on the Hugging Face Hub ({error})") from error
    path = Path(cached) if isinstance(cached, str) else _fetched(name, _FILE, None)
    if path is None:
        raise no_tokenizer(name, f"has no {_FILE} on the Hugging Face Hub")
    revision, config = path.parent.name, path.with_name(_CONFIG)
    if try_to_load_from_cache(name, _CONFIG, revision=revision) is None:
        _fetched(name, _CONFIG, revision)
    return path, config, revision


def _fetched(name: str, file: str, revision: str | None) -> Path | None:
    """A file of the Hub; None where it has none of this name."""
    from huggingface_hub import hf_hub_download
    from huggingface_hub.errors import HfHubHTTPError, RemoteEntryNotFoundError

    try:
        return Path(hf_hub_download(name, file, revision=revision))
    except RemoteEntryNotFoundError:
        return None
    except (HfHubHTTPError, OSError) as error:
        problem = first_line(error)
        needed = f"is cached without {file}, which names BOS and EOS and" if revision else "is no file, and"
        raise no_tokenizer(name, f"{needed} cannot be fetched from the Hugging Face Hub ({problem})") from error


def no_tokenizer(place: str, problem: str) -> DataError:
    """The error that `data.tokenizer` names no file that can be read."""
    return DataError(
        "data.no-tokenizer",
        field="data.tokenizer",
        problem=f"hf:{place} {problem}",
        remedy="name a tokenizer.json, a folder that holds one, or a name on the Hub that can be reached or is cached",
    )
