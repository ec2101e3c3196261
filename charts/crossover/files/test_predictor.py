import json
import sys
import urllib.request

url, model = sys.argv[1].rstrip("/"), sys.argv[2]
with urllib.request.urlopen(f"{url}/v2/models/{model}/ready", timeout=20) as answer:
    print("ready", answer.status, answer.read().decode())
body = json.dumps({"model": model, "prompt": "def ", "max_tokens": 4}).encode()
request = urllib.request.Request(f"{url}/v1/completions", body, {"Content-Type": "application/json"})
with urllib.request.urlopen(request, timeout=60) as answer:
    print("completion", answer.status, answer.read().decode())
