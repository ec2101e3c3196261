"""Tasks: documents become requests, and the responses to them per-item scores.

A new benchmark is a pack (`crossover.data.task_packs`) if its documents have a known format, else a format here.
"""

from crossover.evaluation.tasks.choice_tasks import CHOICE_FORMATS
from crossover.evaluation.tasks.task_interface import METRICS, Continuation, ItemScore, Request, Response, Scored, Task
from crossover.evaluation.tasks.writing_tasks import WRITING_FORMATS

FORMATS: dict[str, Task] = {**CHOICE_FORMATS, **WRITING_FORMATS}
"""Every format of documents, by the name that packs give it."""

__all__ = ["FORMATS", "METRICS", "Continuation", "ItemScore", "Request", "Response", "Scored", "Task"]
