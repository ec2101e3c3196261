"""A checkpoint as a Hugging Face model folder that other programs load, and in which MASK cannot be generated.

An AR model loses its row for MASK, the last one, in embedding and head, and its tokenizer the token: then a stock Qwen3
has the distribution that the model was trained with. A DLM keeps it, and gets its loader and its tokenizer without BOS,
which a DLM does not have before a text.
"""

from __future__ import annotations

import shutil
import tempfile
from importlib import resources
from pathlib import Path
from typing import Any, Literal

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor

from crossover.errors import CheckpointError, WorkspaceError, first_line
from crossover.files import read_json, workspace_error, write_json, write_text
from crossover.model_export.model_card import Provenance, model_card
from crossover.tokenization.tokenizer import Tokenizer
from crossover.tokenization.tokenizer_lookup import read_tokenizer
from crossover.training.checkpoint import WEIGHTS
from crossover.training.checkpoint_info import CheckpointInfo, checkpoint_digest, read_info

Dtype = Literal["fp32", "bf16"]
DTYPES: dict[Dtype, torch.dtype] = {"fp32": torch.float32, "bf16": torch.bfloat16}
LOADER = "modeling_crossover_dlm"
_ROWS = ("model.embed_tokens.weight", "lm_head.weight")


def export_checkpoint(folder: Path, out: Path, *, dtype: Dtype = "fp32", corpus: str = "") -> CheckpointInfo:
    """Write the model folder; complete or absent.

    Args:
        folder: a checkpoint.
        out: a new or empty folder.
        dtype: of the weights.
        corpus: digest of what it was trained on, for the model card; empty if unknown.

    Returns:
        What the checkpoint is of.

    Raises:
        CheckpointError: no checkpoint, torn, or tampered with.
        WorkspaceError: `out` has files in it, or cannot be written.
    """
    info = read_info(folder)
    try:
        if out.is_file() or (out.is_dir() and any(out.iterdir())):
            raise WorkspaceError(
                "export.not-empty",
                field=str(out),
                problem="exists and is not an empty folder",
                remedy="name a new folder",
            )
        out.parent.mkdir(parents=True, exist_ok=True)
        temporary = Path(tempfile.mkdtemp(prefix=f".{out.name}.", dir=out.parent))
        try:
            _write(folder, temporary, info, dtype, corpus)
            temporary.chmod(0o755)
            temporary.replace(out)
        finally:
            shutil.rmtree(temporary, ignore_errors=True)
    except OSError as error:
        raise workspace_error(out, error) from error
    return info


def _write(folder: Path, out: Path, info: CheckpointInfo, dtype: Dtype, corpus: str) -> None:
    digest = checkpoint_digest(folder)
    tokenizer = read_tokenizer(folder)
    provenance = Provenance(info=info, digest=digest, dtype=dtype, corpus=corpus, tokenizer=tokenizer.name)
    save_file(_weights(folder, info, DTYPES[dtype]), out / WEIGHTS, {"format": "pt"})
    (out / WEIGHTS).chmod(0o644)  # safetensors lets the owner alone read it
    config = _config(read_json(folder / "config.json"), info, dtype, tokenizer)
    write_json(out / "config.json", config | provenance.config_section)
    causal, mask = info.family == "AR", tokenizer.special[tokenizer.mask]
    whole = tokenizer.hugging_face_json()
    write_json(out / "tokenizer.json", _without_token(whole, mask) if causal else whole | {"post_processor": None})
    settings = tokenizer.hugging_face_config(info.model.max_length + causal)
    settings["pad_token"] = tokenizer.special[tokenizer.eos]
    write_json(out / "tokenizer_config.json", {k: v for k, v in settings.items() if not causal or v != mask})
    special = {"bos_token_id": tokenizer.bos, "eos_token_id": tokenizer.eos, "pad_token_id": tokenizer.eos}
    if causal:
        write_json(out / "generation_config.json", special | {"suppress_tokens": _never_generated(tokenizer)})
    else:
        write_json(out / "generation_config.json", special | {"mask_token_id": tokenizer.mask})
        loader = resources.files("crossover.model_export").joinpath(f"{LOADER}.py")
        write_text(out / f"{LOADER}.py", loader.read_text("utf-8"))
    write_text(out / "README.md", model_card(provenance))


def _weights(folder: Path, info: CheckpointInfo, dtype: torch.dtype) -> dict[str, Tensor]:
    try:
        tensors = load_file(folder / WEIGHTS)
    except SafetensorError as error:
        raise CheckpointError(
            "checkpoint.weights-do-not-fit",
            field=str(folder / WEIGHTS),
            problem=first_line(error),
            remedy="train the run again",
        ) from error
    if info.family == "AR":
        for name in _ROWS:
            tensors[name] = tensors[name][: info.model.vocab_size - 1].clone()
    return {name: tensor.to(dtype) for name, tensor in tensors.items()}


def _config(config: dict[str, Any], info: CheckpointInfo, dtype: Dtype, tokenizer: Tokenizer) -> dict[str, Any]:
    """The checkpoint's config.json, as transformers reads it without Crossover."""
    common = {"torch_dtype": str(DTYPES[dtype]).removeprefix("torch."), "pad_token_id": tokenizer.eos}
    if info.family == "AR":
        return config | common | {"vocab_size": tokenizer.mask}
    return (
        config
        | common
        | {
            "auto_map": {
                "AutoConfig": f"{LOADER}.CrossoverDLMConfig",
                "AutoModel": f"{LOADER}.CrossoverMaskedDiffusionLM",
                "AutoModelForMaskedLM": f"{LOADER}.CrossoverMaskedDiffusionLM",
            },
            "mask_token_id": tokenizer.mask,
            "block_length": info.block_length,
            "router": "expert-choice" if info.expert_choice else "token-choice",
            "num_experts": info.model.num_experts,
            "tie_word_embeddings": False,  # both are in the file
        }
    )


def _never_generated(tokenizer: Tokenizer) -> list[int]:
    """Special tokens but EOS and MASK, as decoding has it."""
    return [token for token in tokenizer.special if token not in (tokenizer.eos, tokenizer.mask)]


def _without_token(value: dict[str, Any], name: str) -> dict[str, Any]:
    """A tokenizer.json without a special token."""
    vocabulary = {token: id_ for token, id_ in value["model"]["vocab"].items() if token != name}
    added = [token for token in value["added_tokens"] if token["content"] != name]
    return value | {"added_tokens": added, "model": value["model"] | {"vocab": vocabulary}}
