"""Multiple-choice tasks: the model's answer is its most likely option. Texts are built as in lm-evaluation-harness.

An option is a continuation of a context; the space between the two belongs to the continuation. Ties count in parts.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import ClassVar, NamedTuple

import numpy as np

from crossover.data.task_packs import Document, Pack
from crossover.evaluation.tasks.task_interface import Continuation, ItemScore, Request, Response, Scored, Task
from crossover.tokenization.tokenizer import BYTES, Tokenizer

LETTERS = "ABCDEFGHIJ"


class Question(NamedTuple):
    """The options of an item, and the index of the right one."""

    options: list[Continuation]
    gold: int


@dataclass(frozen=True)
class ChoiceTask:
    """Scores the likelihood of every option.

    Args:
        question: builds the question from a document and its pack.
        id_field: field of the item's id; empty: the document's number.
        cluster_field: field whose value the items of a cluster share; empty: every item is its own cluster.
    """

    question: Callable[[Document, Pack], Question]
    id_field: str = ""
    cluster_field: str = ""
    generates: ClassVar[bool] = False
    executes: ClassVar[bool] = False

    def identity(self, document: Document, number: int) -> tuple[str, str]:
        """The item's id and cluster."""
        name = str(document[self.id_field]) if self.id_field else f"{number:05d}"
        return name, str(document[self.cluster_field]) if self.cluster_field else name

    def requests(self, document: Document, pack: Pack, tokenizer: Tokenizer = BYTES) -> Sequence[Request]:
        """One continuation per option."""
        del tokenizer
        question = self.question(document, pack)
        if not 0 <= question.gold < len(question.options):
            raise ValueError(f"gold {question.gold} is not an index into {len(question.options)} options")
        if len(question.options) < 2:
            raise ValueError("fewer than two options")
        for i, option in enumerate(question.options):
            if not (option.continuation.strip() if isinstance(option.continuation, str) else option.continuation):
                raise ValueError(f"option {i} is empty")
        return question.options

    def score(self, document: Document, pack: Pack, responses: Sequence[Response]) -> ItemScore:
        """Accuracy by the summed NLL and by the NLL per character, and the margin in nats per token."""
        scored = [response for response in responses if isinstance(response, Scored)]
        gold = self.question(document, pack).gold
        total = np.array([option.nll for option in scored])
        per_token = total / [option.tokens for option in scored]
        others = np.delete(per_token, gold)
        correct = first_place(total, gold)
        values = {
            "accuracy": correct,
            "accuracy_norm": first_place(total / [option.characters for option in scored], gold),
            "margin": float(others.mean() - per_token[gold]),
            "gold_nll": float(per_token[gold]),
            "distractor_nll": float(others.mean()),
        }
        return ItemScore(correct, values, tuple(per_token.tolist()))


def first_place(cost: np.ndarray, gold: int) -> float:
    """1 if the gold option alone has the lowest cost, 1/n if n options tie for it, else 0."""
    best = cost == cost.min()
    return float(best[gold] / best.sum())


def spaced(context: str, options: Sequence[str]) -> list[Continuation]:
    """Options that continue one context, separated by a space."""
    return [Continuation(context, f" {option}") for option in options]


def _choices(document: Document, pack: Pack) -> Question:
    """`{query, choices, gold}`; the template makes the context."""
    context = (pack.template or "{query}").format_map(document)
    return Question(spaced(context, document["choices"]), int(document["gold" if "gold" in document else "answer"]))


def _letters(document: Document, pack: Pack) -> Question:
    """`{question, choices, answer, subject}`: the options are shown, and a letter is to be chosen (MMLU)."""
    del pack
    shown = "".join(f"{letter}. {choice}\n" for letter, choice in zip(LETTERS, document["choices"], strict=False))
    subject = str(document["subject"]).replace("_", " ")
    head = f"The following are multiple choice questions (with answers) about {subject}.\n\n"
    context = f"{head}{document['question'].strip()}\n{shown}Answer:"
    return Question(spaced(context, list(LETTERS[: len(document["choices"])])), int(document["answer"]))


def _hellaswag(document: Document, pack: Pack) -> Question:
    """`{ctx_a, ctx_b, activity_label, endings, label}`."""
    del pack
    context = f"{document['activity_label']}: {document['ctx_a']} {document['ctx_b'].capitalize()}"
    return Question(spaced(_clean(context), [_clean(e) for e in document["endings"]]), int(document["label"]))


def _clean(text: str) -> str:
    """Without WikiHow's brackets, as lm-evaluation-harness has it."""
    text = re.sub(r"\[.*?\]", "", text.strip().replace(" [title]", ". "))
    return text.replace("  ", " ")


def _pairs(document: Document, pack: Pack) -> Question:
    """`{sentence_good, sentence_bad}`: which of two sentences is more likely (BLiMP, Zorro)."""
    del pack
    return Question([Continuation("", document["sentence_good"]), Continuation("", document["sentence_bad"])], 0)


def _contexts(document: Document, pack: Pack) -> Question:
    """`{context_options, continuation, gold}`: after which context a continuation is more likely (partial scoring)."""
    del pack
    continuation = f" {document['continuation']}"
    return Question([Continuation(c, continuation) for c in document["context_options"]], int(document["gold"]))


def _tokens(document: Document, pack: Pack) -> Question:
    """`{context, options, gold}` in tokens: the domain cloze."""
    del pack
    context = tuple(document["context"])
    return Question([Continuation(context, tuple(option)) for option in document["options"]], int(document["gold"]))


CHOICE_FORMATS: dict[str, Task] = {
    "choices": ChoiceTask(_choices),
    "letters": ChoiceTask(_letters, cluster_field="subject"),
    "hellaswag": ChoiceTask(_hellaswag, id_field="ind", cluster_field="source_id"),
    "pairs": ChoiceTask(_pairs, cluster_field="UID"),
    "contexts": ChoiceTask(_contexts),
    "tokens": ChoiceTask(_tokens, id_field="id", cluster_field="cluster"),
}
