"""The README.md of an exported model: what it is, where it comes from, how to load it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from crossover import __version__
from crossover.training.checkpoint_info import CheckpointInfo

_HEAD = """\
---
library_name: transformers
license: unknown
pipeline_tag: {task}
tags: [crossover, {tag}]
---

# {run}, step {step}

{kind}, pretrained with Crossover {version}. A base model: it continues text, and follows no instructions.

| | |
|---|---|
| run | `{run}` of arm `{arm}`, seed {seed} |
| digest of the run | `{run_digest}` |
| digest of the checkpoint | `{digest}` |
| step | {step} |
| training tokens, repetitions counted | {tokens:,} |
| digest of the corpus | {corpus} |
| licence of the corpus | unknown: see where it came from before you publish the model |
| parameters | {parameters:,} with all embeddings of the checkpoint |
| weights | {dtype} |
| context | {context} tokens |
| tokenizer | {tokenizer} |
"""

_AR = """
## How to use it

The checkpoint's row of MASK, which no autoregressive model predicts, is not part of this folder: it is a plain
`{architecture}`, whose log-likelihoods are those that the study measured. The tokenizer puts BOS before each text.

```python
from transformers import AutoModelForCausalLM, AutoTokenizer

tokenizer = AutoTokenizer.from_pretrained(FOLDER)
model = AutoModelForCausalLM.from_pretrained(FOLDER)
inputs = tokenizer("Once upon a time", return_tensors="pt", return_token_type_ids=False)
print(tokenizer.decode(model.generate(**inputs, max_new_tokens=16, do_sample=True, top_k=0)[0]))
```

```bash
vllm serve FOLDER
python -m sglang.launch_server --model-path FOLDER
lm_eval --model hf --model_args pretrained=FOLDER --tasks hellaswag
```
"""

_DLM = """
## How to use it

`modeling_crossover_dlm.py` holds the model and needs PyTorch and transformers only; read it before you trust it. The
logits at a position predict that position, from {seen}. There is no BOS before a text. vLLM, SGLang and
`lm_eval --model hf` decode and score left to right, and cannot use it; `crossover serve` and `crossover lm-eval` can.

```python
from transformers import AutoModelForMaskedLM, AutoTokenizer

tokenizer = AutoTokenizer.from_pretrained(FOLDER)
model = AutoModelForMaskedLM.from_pretrained(FOLDER, trust_remote_code=True)
text = "Once upon a time" + tokenizer.mask_token * 8{after}
tokens = tokenizer(text, return_tensors="pt").input_ids
print(tokenizer.decode(model.fill_masks(tokens)[0]))
```

`fill_masks` unmasks one token in each pass of the model, the most likely one. In its place, by hand:

```python
import torch

while (masked := (tokens[0] == tokenizer.mask_token_id).nonzero()[:, 0]).numel():
{block}    with torch.inference_mode():
        probability = model(tokens).logits[0, masked].softmax(-1)
    best = probability.max(-1).values.argmax()
    tokens[0, masked[best]] = probability[best].argmax()
```
"""
_BLOCK = """\
    blocks = masked // model.config.block_length  # a block sees no later one, so the first one is filled first
    masked = masked[blocks == blocks[0]]
"""


@dataclass(frozen=True, kw_only=True)
class Provenance:
    """Where an exported model comes from."""

    info: CheckpointInfo
    digest: str
    """Of the checkpoint."""
    dtype: str
    corpus: str
    """Digest; empty if unknown."""
    tokenizer: str = "bytes"
    """As the study names it."""

    @property
    def config_section(self) -> dict[str, Any]:
        """The section `crossover` of config.json."""
        names = ("family", "run", "run_digest", "arm", "seed", "step", "tokens")
        values = self.info.model_dump(mode="json", include=set(names))
        return {"crossover": values | {"checkpoint_digest": self.digest, "corpus_digest": self.corpus or None}}


def model_card(provenance: Provenance) -> str:
    """The text of README.md; FOLDER stands for where the model is."""
    info, causal = provenance.info, provenance.info.family == "AR"
    head = _HEAD.format(
        **info.model_dump(include={"run", "arm", "seed", "run_digest", "step", "tokens"}),
        task="text-generation" if causal else "fill-mask",
        tag="autoregressive" if causal else "masked-diffusion",
        kind=_kind(info),
        version=__version__,
        digest=provenance.digest,
        corpus=f"`{provenance.corpus}`" if provenance.corpus else "unknown",
        parameters=info.model.parameters,
        dtype=provenance.dtype,
        tokenizer="UTF-8 bytes" if provenance.tokenizer == "bytes" else f"`{provenance.tokenizer}`",
        context=info.model.max_length,
    )
    if causal:
        return head + _AR.format(architecture="Qwen3MoeForCausalLM" if info.model.num_experts else "Qwen3ForCausalLM")
    block = bool(info.block_length)
    return head + _DLM.format(
        seen="all tokens of its block and of the blocks before it" if block else "all other tokens",
        after="" if block else ' + " there was a king."',
        block=_BLOCK if block else "",
    )


def _kind(info: CheckpointInfo) -> str:
    sparse = ", mixture of experts" if info.model.num_experts else ""
    if info.family == "AR":
        return f"Autoregressive language model{sparse}"
    if info.block_length:
        return f"Block diffusion language model{sparse}, blocks of {info.block_length} tokens"
    return f"Masked diffusion language model{sparse}"
