"""Checkpoint folders: complete or invisible, in Hugging Face layout.

A folder holds model.safetensors, config.json, tokenizer.json, tokenizer_config.json, and, to resume from,
training_state.safetensors. manifest.json, with the SHA-256 of every other file, is written last inside a temporary
folder that is then renamed; a folder without a valid manifest is torn and is not a checkpoint.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import tempfile
from collections.abc import Mapping
from pathlib import Path

from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor

from crossover.errors import CheckpointError, first_line
from crossover.files import digest_of, digest_of_file, sync_folder, workspace_error, write_json
from crossover.model.hugging_face_format import config_json, from_hugging_face, to_hugging_face
from crossover.model.transformer import Transformer
from crossover.tokenization.tokenizer import BYTES, Tokenizer
from crossover.tokenization.tokenizer_lookup import read_tokenizer
from crossover.training.checkpoint_info import MANIFEST, CheckpointInfo, read_info

WEIGHTS = "model.safetensors"
STATE = "training_state.safetensors"


def save_checkpoint(
    folder: Path,
    info: CheckpointInfo,
    weights: Mapping[str, Tensor],
    training_state: Mapping[str, Tensor] | None = None,
    *,
    tokenizer: Tokenizer = BYTES,
) -> str:
    """Write a checkpoint folder atomically; an existing one of that name is replaced.

    Args:
        folder: its final place; the parent is made if need be.
        info: what it is of.
        weights: the model's parameters by name, on the CPU.
        tokenizer: whose ids the model knows.
        training_state: flat tensors of the optimizer, to resume from; None for a milestone.

    Returns:
        The checkpoint's digest, which is that of its manifest.

    Raises:
        WorkspaceError: unwritable or full; what stood there before still does.
    """
    try:
        folder.parent.mkdir(parents=True, exist_ok=True)
        temporary = Path(tempfile.mkdtemp(prefix=f".{folder.name}.", dir=folder.parent))
    except OSError as error:
        raise workspace_error(folder, error) from error
    try:
        _write(temporary / WEIGHTS, to_hugging_face(weights))
        _write(temporary / "config.json", _text(_config(info, tokenizer)))
        _write(temporary / "tokenizer.json", tokenizer.json_text.encode())
        _write(temporary / "tokenizer_config.json", _text(tokenizer.hugging_face_config(info.model.max_length)))
        if training_state is not None:
            _write(temporary / STATE, training_state)
        return publish_folder(
            temporary, folder, info, {path.name: digest_of_file(path) for path in sorted(temporary.iterdir())}
        )
    except OSError as error:
        raise workspace_error(folder, error) from error
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


def publish_folder(temporary: Path, folder: Path, info: CheckpointInfo, digests: Mapping[str, str]) -> str:
    """Write the manifest of a folder whose files are written, and give it its name.

    Args:
        temporary: the folder as it is; hidden, beside its final place.
        folder: its final place; what stands there is replaced.
        info: what it is of.
        digests: of its files, by name.

    Returns:
        Digest of the manifest.

    Raises:
        OSError: unwritable or full.
    """
    manifest = {"kind": "checkpoint", **info.model_dump(mode="json"), "files": dict(digests)}
    write_json(temporary / MANIFEST, manifest)
    sync_folder(temporary)
    temporary.chmod(0o755)
    if folder.exists():
        shutil.rmtree(folder)
    os.replace(temporary, folder)
    sync_folder(folder.parent)
    return digest_of(manifest)


def _config(info: CheckpointInfo, tokenizer: Tokenizer) -> dict[str, object]:
    return config_json(
        info.model,
        family=info.family,
        special=(tokenizer.bos, tokenizer.eos, tokenizer.mask),
        block_length=info.block_length,
        expert_choice=info.expert_choice,
    )


def _text(value: object) -> bytes:
    return (json.dumps(value, indent=1, ensure_ascii=False) + "\n").encode()


def _write(path: Path, content: bytes | Mapping[str, Tensor]) -> None:
    """Write a file to the disk: bytes, or tensors as safetensors, from where they are in memory."""
    if isinstance(content, bytes):
        path.write_bytes(content)
    else:
        try:
            save_file(dict(content), path, {"format": "pt"})
        except SafetensorError as error:
            number = re.search(r"os error (\d+)", str(error))
            if number is None:
                raise
            raise OSError(int(number[1]), os.strerror(int(number[1]))) from error
        path.chmod(0o644)  # safetensors lets the owner alone read it
    with path.open("rb") as file:
        os.fsync(file.fileno())


def load_checkpoint(folder: Path, *, device: str = "cpu") -> tuple[Transformer, CheckpointInfo]:
    """The model of a checkpoint, in evaluation mode, and what it is of.

    Raises:
        CheckpointError: torn, tampered with, or weights that do not fit the config.
    """
    info = read_info(folder)
    model = build_model(info).to(device)
    model.tokenizer = read_tokenizer(folder)
    try:
        model.load_state_dict(load_weights(folder, info, device=device))
    except (SafetensorError, RuntimeError) as error:
        raise CheckpointError(
            "checkpoint.weights-do-not-fit",
            field=str(folder / WEIGHTS),
            problem=first_line(error),
            remedy="train the run again",
        ) from error
    return model.eval(), info


def build_model(info: CheckpointInfo) -> Transformer:
    """A model of the checkpoint's shape, without its weights."""
    return Transformer(
        info.model,
        causal=info.family == "AR",
        mask_id=info.model.vocab_size - 1,
        block_length=info.block_length,
        expert_choice=info.expert_choice,
        document_end=info.document_end,
    )


def load_weights(folder: Path, info: CheckpointInfo, *, device: str = "cpu") -> dict[str, Tensor]:
    """The parameters of a checkpoint by their names in the model."""
    return from_hugging_face(load_file(folder / WEIGHTS, device=device), info.model)
