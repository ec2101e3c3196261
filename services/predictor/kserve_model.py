"""The KServe model: v1 `:predict` and v2 `infer`, over the same request queue as the OpenAI-style routes."""

from __future__ import annotations

import uuid
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from crossover_services.predictor.request_batching import MAX_QUEUE, Batcher
from kserve.model import Model
from kserve.protocol.infer_type import InferOutput, InferRequest, InferResponse
from pydantic import TypeAdapter, ValidationError

from crossover.decoding import Completion, Generation
from crossover.errors import RequestError
from crossover.training.checkpoint import load_checkpoint

_FIELDS = set(Generation.__dataclass_fields__)
_GENERATION = TypeAdapter(Generation)


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
        if isinstance(payload, InferRequest):
            completions = await self.batcher.complete(_from_tensors(payload))
            return _to_tensors(self.name, payload, completions)
        completions = await self.batcher.complete([_from_instance(item) for item in payload["instances"]])
        return {"predictions": [_prediction(completion) for completion in completions]}

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


def _from_instance(instance: object) -> Generation:
    """A request from a string, or from an object with the fields of `Generation`."""
    if isinstance(instance, str):
        return Generation(prompt=instance)
    if not isinstance(instance, dict) or not isinstance(instance.get("prompt"), str):
        raise _bad("instances", "each must be a string, or an object with a string `prompt`")
    if unknown := set(instance) - _FIELDS:
        raise _bad("instances", f"unknown field {sorted(unknown)[0]!r}; the fields are {', '.join(sorted(_FIELDS))}")
    return _generation(instance)


def _from_tensors(request: InferRequest) -> list[Generation]:
    texts = {tensor.name: [_text(value) for value in tensor.data] for tensor in request.inputs}
    prompts = texts.get("prompt")
    if prompts is None:
        raise _bad("inputs", "a BYTES tensor named `prompt` is required")
    suffixes: list[str | None] = [*texts.get("suffix", [None] * len(prompts))]
    if len(suffixes) != len(prompts):
        raise _bad("inputs", "`suffix` must have as many elements as `prompt`")
    options = request.parameters or {}
    return [
        _generation({**options, "prompt": prompt, "suffix": suffix})
        for prompt, suffix in zip(prompts, suffixes, strict=True)
    ]


def _generation(fields: Mapping[str, object]) -> Generation:
    """A request from JSON values: null is the default, and one text is one stop sequence, as on /v1/completions."""
    given = {name: value for name, value in fields.items() if value is not None}
    if isinstance(given.get("stop"), str):
        given["stop"] = [given["stop"]]
    try:
        return _GENERATION.validate_python(given)
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        raise _bad(str(first["loc"][0]), first["msg"]) from error


def _text(value: object) -> str:
    return value.decode("utf-8", "replace") if isinstance(value, bytes) else str(value)


def _to_tensors(name: str, request: InferRequest, completions: list[Completion]) -> InferResponse:
    output = InferOutput(
        name="completion", datatype="BYTES", shape=[len(completions)], data=[c.text for c in completions]
    )
    return InferResponse(response_id=request.id or uuid.uuid4().hex, model_name=name, infer_outputs=[output])


def _bad(field: str, problem: str) -> RequestError:
    return RequestError("request.invalid", field=field, problem=problem, remedy=f"correct {field}")
