"""Checkpoints of both families as models of lm-evaluation-harness.

`crossover lm-eval --model crossover --model_args checkpoint=FOLDER ...` is the harness's own command with this model
registered.
"""

from __future__ import annotations

import itertools
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from lm_eval.api.instance import Instance
from lm_eval.api.model import LM
from lm_eval.api.registry import register_model
from lm_eval.utils import get_rolling_token_windows, make_disjoint_window

from crossover.decoding import Generation
from crossover.decoding.generate_text import generate
from crossover.evaluation.continuation_scoring import ItemLikelihoods, score_items
from crossover.evaluation.task_scores import limit_to_model
from crossover.evaluation.tasks import Continuation
from crossover.training.checkpoint import load_checkpoint

HARNESS_DEVICE = "cuda:0"
"""What the harness's command passes without --device, on any machine."""


@register_model("crossover")
class CrossoverLM(LM):
    """A checkpoint as a model of the harness.

    AR: exact log-likelihoods. DLM: lower bounds, under masks that all options of a document share.

    Args:
        checkpoint: the checkpoint folder.
        draws: masks per continuation under a DLM.
        device: of the model; default CPU, also where the harness's default is not there.
        batch_size: ignored, since batches are bounded by tokens; the harness's command line always passes one.
        max_batch_size: ignored.
    """

    def __init__(
        self,
        checkpoint: str,
        draws: int = 32,
        device: str | None = None,
        batch_size: int | str | None = None,
        max_batch_size: int | None = None,
    ) -> None:
        del batch_size, max_batch_size
        super().__init__()
        if device == HARNESS_DEVICE and not torch.cuda.is_available():
            device = None
        self.model, self.info = load_checkpoint(Path(checkpoint), device=device or "cpu")
        self.draws = int(draws)
        self.truncated = 0

    def loglikelihood(self, requests: list[Instance], disable_tqdm: bool = False) -> list[tuple[float, bool]]:
        """Log-likelihood of each continuation in nats, and whether greedy AR decoding generates it."""
        del disable_tqdm
        groups = [list(group) for _, group in itertools.groupby(requests, key=_document)]
        items = [[Continuation(*request.args) for request in group] for group in groups]
        return [response for item in self._scored(items) for response in self._responses(item)]

    def loglikelihood_rolling(self, requests: list[Instance], disable_tqdm: bool = False) -> list[float]:
        """Log-likelihood of full texts in nats, over the harness's disjoint windows."""
        del disable_tqdm
        items = [self._windows(str(request.args[0])) for request in requests]
        return [sum(value for value, _ in self._responses(item)) for item in self._scored(items)]

    def generate_until(self, requests: list[Instance], disable_tqdm: bool = False) -> list[str]:
        """Completions, cut at the stop sequences."""
        del disable_tqdm
        generations = [_generation(str(request.args[0]), dict(request.args[1])) for request in requests]
        limited = [limit_to_model(self.model, generation) for generation in generations]
        return [completion.text for completion in generate(self.model, limited)]

    def _scored(self, items: Sequence[Sequence[Continuation]]) -> list[ItemLikelihoods]:
        scored = list(score_items(self.model, items, draws=self.draws))
        self.truncated += sum(item.truncated for item in scored)
        return scored

    @staticmethod
    def _responses(item: ItemLikelihoods) -> list[tuple[float, bool]]:
        return [(-scored.nll, greedy) for scored, greedy in zip(item.scored, item.greedy, strict=True)]

    def _windows(self, text: str) -> list[Continuation]:
        tokenizer = self.model.tokenizer
        tokens = tokenizer.encode(text).astype(np.int64).tolist()
        windows = get_rolling_token_windows(tokens, tokenizer.bos, self.model.config.max_length - 1, context_len=1)
        pairs = [make_disjoint_window(window) for window in windows]
        return [Continuation(tuple(t for t in before if t != tokenizer.bos), tuple(after)) for before, after in pairs]


def _document(request: Instance) -> tuple[str | None, int | None]:
    """Key of the document that a request belongs to; the options of one question share it."""
    return request.task_name, request.doc_id


def _generation(prompt: str, options: dict[str, Any]) -> Generation:
    """A request from the harness's generation arguments."""
    until = options.get("until") or []
    sampled = bool(options.get("do_sample", False))
    return Generation(
        prompt=prompt,
        max_tokens=int(options.get("max_gen_toks", 256)),
        temperature=float(options.get("temperature", 1.0)) if sampled else 0.0,
        top_p=float(options.get("top_p", 1.0)),
        stop=tuple(text for text in ([until] if isinstance(until, str) else until) if text),
    )


def run(arguments: Sequence[str]) -> int:
    """Run the harness's command line with these arguments."""
    from lm_eval.__main__ import cli_evaluate

    sys.argv = ["lm-eval", *arguments]
    cli_evaluate()
    return 0
