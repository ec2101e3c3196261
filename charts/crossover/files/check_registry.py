"""`helm test`: the registry lives, and its database answers."""

import sys

import httpx

for address in sys.argv[1:]:
    print(address, httpx.get(address, timeout=20).raise_for_status().text)
