"""The KServe model: v1 `:predict` and v2 `infer`, over the same engine as the OpenAI-style routes."""

from __future__ import annotations

import json
import uuid
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

from crossover_services.predictor.engine_client import EngineClient
from crossover_services.predictor.kserve_requests import Work, from_instances, from_tensors
from crossover_services.predictor.openai_answers import Json, Logprobs, prompt_part
from kserve.model import Model
from kserve.protocol.infer_type import InferOutput, InferRequest, InferResponse

from crossover.decoding.generation_request import Completion, Generation
from crossover.study.study_digests import short
from crossover.tokenization.tokenizer import Tokenizer

Answer = tuple[Generation, Completion, Tokenizer]


class _Output(NamedTuple):
    datatype: str
    value: Callable[[Answer], object]


OUTPUTS = {
    "completion": _Output("BYTES", lambda answer: answer[1].text),
    "finish_reason": _Output("BYTES", lambda answer: answer[1].finish_reason),
    "prompt_tokens": _Output("INT32", lambda answer: answer[1].prompt_tokens),
    "completion_tokens": _Output("INT32", lambda answer: len(answer[1].tokens)),
    "forward_passes": _Output("INT32", lambda answer: answer[1].forward_passes),
    "seed": _Output("INT64", lambda answer: answer[0].seed),
    "logprobs": _Output("BYTES", lambda answer: json.dumps(_logprobs(*answer))),
}
"""Tensors of v2, and the same fields of a v1 prediction. `logprobs`, a JSON text, is there where it was asked for."""


class CrossoverModel(Model):
    """A checkpoint of either family, loaded before the server starts.

    Args:
        name: of the model in requests.
        client: of the engine that has the model.
        identity: which checkpoint it is: digest, run, run_digest, step.
    """

    def __init__(self, name: str, client: EngineClient, identity: Mapping[str, object]) -> None:
        super().__init__(name)
        self.client, self.identity = client, identity
        self.version = short(str(identity["digest"]))
        self.ready = True

    async def predict(
        self,
        payload: dict[str, Any] | InferRequest,
        headers: dict[str, str] | None = None,
        response_headers: dict[str, str] | None = None,
    ) -> dict[str, Any] | InferResponse:
        """Complete every instance (v1) or every element of the input `prompt` (v2).

        Raises:
            RequestError: a request is malformed, or the model's family does not support it.
        """
        if isinstance(payload, InferRequest):
            answers = await self._complete(from_tensors(payload, self.client))
            return _to_tensors(self.name, self.version, payload, answers)
        return {
            "predictions": [
                _prediction(*answer) for answer in await self._complete(from_instances(payload, self.client))
            ]
        }

    async def _complete(self, work: Work) -> list[Answer]:
        completions = await self.client.complete(work.generations, timeout=work.timeout)
        tokenizer = self.client.engine.model.tokenizer
        return [(*pair, tokenizer) for pair in zip(work.generations, completions, strict=True)]

    def validate(self, payload: Any) -> Any:  # noqa: ANN401 - as KServe has it
        """Nothing: `predict` checks every field."""
        return payload

    def get_input_types(self) -> list[dict[str, Any]]:
        """Inputs in v2 metadata."""
        return [{"name": name, "datatype": "BYTES", "shape": [-1]} for name in ("prompt", "suffix")]

    def get_output_types(self) -> list[dict[str, Any]]:
        """Outputs in v2 metadata."""
        return [{"name": name, "datatype": output.datatype, "shape": [-1]} for name, output in OUTPUTS.items()]


def _prediction(generation: Generation, completion: Completion, tokenizer: Tokenizer) -> Json:
    names = OUTPUTS.keys() - {"logprobs"}
    fields = {
        name: output.value((generation, completion, tokenizer)) for name, output in OUTPUTS.items() if name in names
    }
    return fields | _logprobs(generation, completion, tokenizer)


def _logprobs(generation: Generation, completion: Completion, tokenizer: Tokenizer) -> Json:
    """Those of the completion and of the prompt, as far as the request has them."""
    own = {"logprobs": Logprobs(tokenizer).of(completion.logprobs)} if generation.logprobs is not None else {}
    return own | prompt_part(generation, completion, tokenizer)


def _to_tensors(name: str, version: str, request: InferRequest, answers: Sequence[Answer]) -> InferResponse:
    with_logprobs = any(_logprobs(*answer) for answer in answers)
    outputs = [
        InferOutput(name=key, datatype=output.datatype, shape=[len(answers)], data=[output.value(a) for a in answers])
        for key, output in OUTPUTS.items()
        if key != "logprobs" or with_logprobs
    ]
    return InferResponse(
        response_id=request.id or uuid.uuid4().hex,
        model_name=name,
        model_version=version,
        infer_outputs=outputs,
        use_binary_outputs=request.use_binary_outputs,
        requested_outputs=request.request_outputs,
    )
