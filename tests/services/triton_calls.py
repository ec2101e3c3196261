"""Calls of Triton's clients, in a process of their own: their protobuf messages have the names of KServe's.

`python -m tests.services.triton_calls http|grpc HOST:PORT` prints what the answers were, as JSON.
"""

from __future__ import annotations

import importlib
import json
import sys

import numpy as np
from tritonclient.utils import InferenceServerException


def main(protocol: str, address: str) -> None:
    """Ask for everything that a user of the client would."""
    module = importlib.import_module(f"tritonclient.{protocol}")
    client = module.InferenceServerClient(address)
    metadata = client.get_model_metadata("crossover")
    versions = metadata["versions"] if protocol == "http" else list(metadata.versions)
    prompt = module.InferInput("prompt", [2], "BYTES")
    prompt.set_data_from_numpy(np.array([b"ab", "ü".encode()], dtype=np.object_))
    outputs = [module.InferRequestedOutput(name) for name in ("completion", "seed")]
    parameters = {"max_tokens": 5, "seed": 3, "stop": json.dumps(["never", "at all"]), "temperature": "0.7"}
    answers = []
    for version in ("", versions[0]):
        answer = client.infer("crossover", [prompt], model_version=version, outputs=outputs, parameters=parameters)
        texts = [text.decode() for text in answer.as_numpy("completion")]
        answers.append([texts, answer.as_numpy("seed").tolist(), answer.as_numpy("finish_reason") is None])
    try:
        client.infer("crossover", [prompt], parameters={"max_tokens": -5})
        refusal = ""
    except InferenceServerException as error:
        refusal = str(error)
    ready = client.is_server_ready() and client.is_model_ready("crossover")
    client.close()
    print(json.dumps({"ready": ready, "versions": versions, "answers": answers, "refusal": refusal}))


if __name__ == "__main__":
    main(*sys.argv[1:])
