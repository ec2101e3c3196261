"""`helm test`: the predictor is ready, and completes a prompt."""

import sys

import httpx

model = sys.argv[2]
with httpx.Client(base_url=sys.argv[1], timeout=60) as client:
    print("ready", client.get(f"/v2/models/{model}/ready").raise_for_status().text)
    body = {"model": model, "prompt": "def ", "max_tokens": 4}
    print("completion", client.post("/v1/completions", json=body).raise_for_status().text)
