import sys
import urllib.request

for address in sys.argv[1:]:
    with urllib.request.urlopen(address, timeout=20) as answer:
        print(address, answer.status, answer.read().decode())
