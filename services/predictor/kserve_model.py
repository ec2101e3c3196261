"""The KServe model: v1 `:predict` and v2 `infer`, over the same request queue as the OpenAI-style routes."""

from __future__ import annotations

import uuid
from pathlib import Path
from typing import Any

from crossover_services.predictor.kserve_requests import from_instances, from_tensors
from crossover_services.predictor.request_batching import MAX_QUEUE, Batcher
from kserve.model import Model
from kserve.protocol.infer_type import InferOutput, InferRequest, InferResponse

from crossover.decoding import Completion
from crossover.training.checkpoint import load_checkpoint
from crossover.training.checkpoint_info import checkpoint_digest


class CrossoverModel(Model):
    """A checkpoint of either family, loaded before the server starts.

    Args:
        name: of the model in requests.
        checkpoint: the checkpoint folder.
        max_queue: no request is accepted while so many completions wait or run.

    Raises:
        CheckpointError: incomplete, altered, or not a checkpoint.
    """

    def __init__(self, name: str, checkpoint: Path, max_queue: int = MAX_QUEUE) -> None:
        super().__init__(name)
        transformer, self.info = load_checkpoint(checkpoint)
        self.digest = checkpoint_digest(checkpoint)
        self.batcher = Batcher(transformer, max_queue)
        self.ready = True

    async def predict(
        self,
        payload: dict[str, Any] | InferRequest,
        headers: dict[str, str] | None = None,
        response_headers: dict[str, str] | None = None,
    ) -> dict[str, Any] | InferResponse:
        """Complete every instance (v1) or every element of the input `prompt` (v2).

        Raises:
            RequestError: a request is malformed, or the model's family does not support it; `kserve_error` answers.
        """
        causal = self.batcher.model.causal
        if isinstance(payload, InferRequest):
            completions = await self.batcher.complete(from_tensors(payload, causal=causal))
            return _to_tensors(self.name, payload, completions)
        completions = await self.batcher.complete(from_instances(payload, causal=causal))
        return {"predictions": [_prediction(completion) for completion in completions]}

    def validate(self, payload: Any) -> Any:  # noqa: ANN401 - as KServe has it
        """Nothing: `predict` checks every field."""
        return payload

    @property
    def identity(self) -> dict[str, object]:
        """Which checkpoint this is: what a promotion asks the endpoint for."""
        info = self.info
        return {"digest": self.digest, "run": info.run, "run_digest": info.run_digest, "step": info.step}

    def get_input_types(self) -> list[dict[str, Any]]:
        """Inputs in v2 metadata."""
        return [{"name": name, "datatype": "BYTES", "shape": [-1]} for name in ("prompt", "suffix")]

    def get_output_types(self) -> list[dict[str, Any]]:
        """Outputs in v2 metadata."""
        return [{"name": "completion", "datatype": "BYTES", "shape": [-1]}]


def _prediction(completion: Completion) -> dict[str, object]:
    return {
        "completion": completion.text,
        "finish_reason": completion.finish_reason,
        "forward_passes": completion.forward_passes,
        "truncated_tokens": completion.truncated_tokens,
    }


def _to_tensors(name: str, request: InferRequest, completions: list[Completion]) -> InferResponse:
    output = InferOutput(
        name="completion", datatype="BYTES", shape=[len(completions)], data=[c.text for c in completions]
    )
    return InferResponse(response_id=request.id or uuid.uuid4().hex, model_name=name, infer_outputs=[output])
