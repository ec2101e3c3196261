"""Tasks turn documents into requests, and a model's responses into per-item scores.

A new benchmark whose documents have a known format is a pack (`crossover.data.task_packs`); another format is a `Task`.
"""

from crossover.evaluation.tasks.choice_tasks import CHOICE_FORMATS
from crossover.evaluation.tasks.task_interface import Continuation, ItemScore, Request, Response, Scored, Task
from crossover.evaluation.tasks.writing_tasks import WRITING_FORMATS

FORMATS: dict[str, Task] = {**CHOICE_FORMATS, **WRITING_FORMATS}
"""Tasks by the name of their document format, as packs give it."""

__all__ = ["FORMATS", "Continuation", "ItemScore", "Request", "Response", "Scored", "Task"]
