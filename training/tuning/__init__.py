"""Tuning of the teacher: a resumable multi-objective search, measured on the validation weeks."""

from training.tuning.front import Trial, Tuning
from training.tuning.journal import open_study
from training.tuning.search import DIRECTIONS, search, summarise
from training.tuning.space import Candidate
from training.tuning.task import LEAST_PEOPLE, Task, make_task

__all__ = [
    "DIRECTIONS",
    "LEAST_PEOPLE",
    "Candidate",
    "Task",
    "Trial",
    "Tuning",
    "make_task",
    "open_study",
    "search",
    "summarise",
]
