"""Documents with planted defects. Tokens are put together here, so that scanners of repositories find none."""

from __future__ import annotations

import random
import string

WORDS = (
    "the of and to in that it with be have said from were which there would their been when will more about into upon "
    "river winter letter window garden evening morning company children soldier village silence mountain promise"
).split()

SECRETS = {
    "AWS access key": "AKIA" + "IOSFODNN7EXAMPLE",
    "AWS secret key": "aws_secret_access_key = " + "wJalrXUtnFEMI/K7MDENG/" + "bPxRfiCYEXAMPLEKEY",
    "GitHub token": "ghp" + "_" + "16C7e42F292c6912E7710c838347Ae178B4a",
    "GitLab token": "glpat" + "-" + "AbCdEfGhIjKlMnOpQrSt",
    "Slack token": "xoxb" + "-123456789012-abcdefghijkl",
    "Google API key": "AIza" + "SyA-1234567890abcdefghijklmnopqrstu",
    "Stripe key": "sk" + "_live_" + "4eC39HqLyjWDarjtT1zdp7dc",
    "OpenAI key": "sk-" + "a" * 20 + "T3Blbk" + "FJ" + "b" * 20,
    "Hugging Face token": "hf" + "_" + "aBcDeFgHiJkLmNoPqRsTuVwXyZaBcDeFgH",
    "npm token": "npm" + "_" + "a1" * 18,
    "PyPI token": "pypi-" + "AgEI" + "cHlwaS5vcmc" + "C" * 50,
    "JSON web token": "eyJ"
    + "hbGciOiJIUzI1NiJ9"
    + ".eyJ"
    + "zdWIiOiIxMjM0NTY3ODkwIn0"
    + ".dozjgNryP4J3jVmNHl0w5N_XgL0n3I9P",
    "password in a URL": "postgresql://reader:" + "correct-horse" + "@db.internal:5432/books",
    "private key": "-----BEGIN RSA PRIVATE "
    + "KEY-----\nProc-Type: 4,ENCRYPTED\n\nMIIEow+/==\n-----END RSA PRIVATE "
    + "KEY-----",
}
PERSONAL = {
    "e-mail address": ("jane.doe+news@mail.example.co.uk", "<EMAIL>"),
    "IP address": ("8.8.4.4", "<IP_ADDRESS>"),
    "phone number": ("+49 30 1234 5678", "<PHONE>"),
}
SIXTH_ADDRESS, AMERICAN = "2606:4700:4700::1111", "(415) 555-2671"
INNOCENT = (
    "version 10.2.3.4.5 of the file",
    "127.0.0.1 and 192.168.0.1 and 10.0.0.8",
    "at 12:30:45 on day 3",
    "x = a[1] @ b[2]",
    "@dataclass\nclass Token:\n    value: int",
    "price + 1 - 23 - 4567",
    "std::vector::iterator",
    "git@",
    "sk-learn and AKIA and ghp_short",
    "http://host:8080/path?at=user@home",
    "postgresql://{user}:{password}@host/base",
    "1.2.3-4",
    "f(415) + (555) 12",
)


def prose(seed: int, words: int = 120) -> str:
    """Sentences of common words, other ones for each seed."""
    rng = random.Random(seed)  # noqa: S311 - the same text every time
    sentences = []
    while words > 0:
        length = rng.randint(6, 14)
        words -= length
        sentences.append(" ".join(rng.choices(WORDS, k=length)).capitalize() + ".")
    lines = [" ".join(sentences[start : start + 3]) for start in range(0, len(sentences), 3)]
    return "\n".join(lines)


def gibberish(seed: int, words: int = 120) -> str:
    """Random letters in the shape of words."""
    rng = random.Random(seed)  # noqa: S311 - the same text every time
    return " ".join("".join(rng.choices(string.ascii_letters, k=rng.randint(2, 9))) for _ in range(words))
