"""Generative tasks: the last word of a passage, and programs that are run in the sandbox."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import ClassVar, NamedTuple

from crossover.data.task_packs import Document, Pack
from crossover.decoding.generation_request import Completion, Generation
from crossover.evaluation.encoded_pair import encode_pair
from crossover.evaluation.sandbox import run_program
from crossover.evaluation.tasks.task_interface import Continuation, ItemScore, Request, Response, Scored, Task
from crossover.tokenization.tokenizer import BYTES, Tokenizer

PROGRAM_TOKENS = 256
"""Longest completion of a program, unless the document's own solution is longer."""
PROGRAM_ENDS = ("\nclass ", "\ndef ", "\n#", "\nif ", "\nprint", "\n@")
MBPP_ENDS = ("\nclass ", "\nassert", '\n"""', "\nprint", "\nif ", "[DONE]")


@dataclass(frozen=True)
class LastWordTask:
    """`{context, continuation}`: the last word of a passage, by greedy decoding and by likelihood (LAMBADA)."""

    generates: ClassVar[bool] = True
    executes: ClassVar[bool] = False

    def identity(self, document: Document, number: int) -> tuple[str, str]:
        """Each item is its own cluster."""
        del document
        return f"{number:05d}", f"{number:05d}"

    def requests(self, document: Document, pack: Pack, tokenizer: Tokenizer = BYTES) -> Sequence[Request]:
        """The word's likelihood, and a completion of its length."""
        del pack
        word = f" {document['continuation'].strip()}"
        if not word.strip():
            raise ValueError("the continuation is empty")
        context = document["context"].rstrip()
        length = len(encode_pair(context, word, tokenizer.encode)[1])
        return Continuation(context, word), Generation(prompt=context, max_tokens=length)

    def score(self, document: Document, pack: Pack, responses: Sequence[Response]) -> ItemScore:
        """Correct if the completion is the word."""
        del pack
        likelihood, completion = responses
        assert isinstance(likelihood, Scored)  # noqa: S101 - in the order of the requests
        assert isinstance(completion, Completion)  # noqa: S101  # the evaluator asked for a completion
        correct = float(completion.text == f" {document['continuation'].strip()}")
        nll = likelihood.nll / likelihood.tokens
        return ItemScore(correct, {"exact_match": correct, "gold_nll": nll}, (nll,))


class Problem(NamedTuple):
    """A programming problem, and how a completion is tested."""

    request: Generation
    program: Callable[[str], str]
    """Builds the program, including its tests, from the completion; it passes if it runs to its end."""


@dataclass(frozen=True)
class CodeTask:
    """Generates a program and runs it with its tests in the sandbox.

    Args:
        problem: builds the problem from a document.
    """

    problem: Callable[[Document, Tokenizer], Problem]
    generates: ClassVar[bool] = True
    executes: ClassVar[bool] = True

    def identity(self, document: Document, number: int) -> tuple[str, str]:
        """The problem's id; the holes of one problem form a cluster."""
        del number
        name = str(document["task_id"])
        kind, _, problem = name.partition("/HumanEval/")
        return name, f"HumanEval/{problem.split('/')[0]}" if problem else kind

    def requests(self, document: Document, pack: Pack, tokenizer: Tokenizer = BYTES) -> Sequence[Request]:
        """One completion."""
        del pack
        return (self.problem(document, tokenizer).request,)

    def score(self, document: Document, pack: Pack, responses: Sequence[Response]) -> ItemScore:
        """Correct if the program with its tests runs to its end."""
        del pack
        (completion,) = responses
        assert isinstance(completion, Completion)  # noqa: S101 - the only request
        outcome = run_program(self.problem(document, BYTES).program(completion.text))
        passed = float(outcome.status == "passed")
        return ItemScore(passed, {"pass_at_1": passed})


def _humaneval(document: Document, tokenizer: Tokenizer) -> Problem:
    """Chen et al. 2021: complete a function below its docstring."""
    prompt, check = document["prompt"], f"{document['test']}\ncheck({document['entry_point']})\n"
    length = max(PROGRAM_TOKENS, len(tokenizer.encode(document["canonical_solution"])))
    request = Generation(prompt=prompt, max_tokens=length, stop=PROGRAM_ENDS)
    return Problem(request, lambda text: f"{prompt}{text}\n{check}")


def _mbpp(document: Document, tokenizer: Tokenizer) -> Problem:
    """Austin et al. 2021: a function from one sentence and three tests, without examples of other problems."""
    tests = "\n".join(document["test_list"])
    task = f"{document['text']}\nYour code should pass these tests:\n{tests}"
    setup = document.get("test_setup_code", "")
    length = max(PROGRAM_TOKENS, len(tokenizer.encode(document["code"])))
    request = Generation(prompt=f'"""\n{task}\n"""\n', max_tokens=length, stop=MBPP_ENDS)
    return Problem(request, lambda text: f"{setup}\n{text}\n{tests}\n")


def _infilling(document: Document, tokenizer: Tokenizer) -> Problem:
    """Bavarian et al. 2022, arXiv 2207.14255: fill a hole in a program, with as many tokens as the solution has.

    A DLM is given prefix and suffix; AR, which cannot attend to the suffix, completes the prefix.
    """
    prompt, suffix = document["prompt"], document["suffix"]
    check = f"{document['test']}\ncheck({document['entry_point']})\n"
    length = len(tokenizer.encode(document["canonical_solution"]))
    return Problem(
        Generation(prompt=prompt, suffix=suffix, max_tokens=length),
        lambda text: f"{prompt}{text}{suffix}\n{check}",
    )


WRITING_FORMATS: dict[str, Task] = {
    "last-word": LastWordTask(),
    "humaneval": CodeTask(_humaneval),
    "mbpp": CodeTask(_mbpp),
    "infilling": CodeTask(_infilling),
}
