"""What every trial learns from and is measured on: the same examples, the same people, the validation weeks."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import torch
from numpy.typing import NDArray
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils.flop_counter import FlopCounterMode

from contracts.errors import ConfigError, DataError
from training.baselines.popularity import purchase_counts
from training.calibration import best_offset
from training.cases import TRAIN, VALIDATION, Cases
from training.checkpoint import fingerprint
from training.context import context_of
from training.evaluation import PersonMetrics, evaluate
from training.examples import Examples, draw_baskets, examples_of
from training.fit_teacher import UNIFORM_DRAWS, TeacherRecipe
from training.histories import Histories, histories_of
from training.new_item_labels import NewItemLabeller, NewItemLabels
from training.prepared import Prepared
from training.protocols import cases_for
from training.segments import Segments, fit_segments
from training.soft_labels import label_new_items
from training.spectral_start import spectral_vectors
from training.teacher import Teacher, TeacherShape, attribute_codes, tensors
from training.train import Progress, TrainSettings
from training.tuning.space import FIXED, recipe_of

MOST_PEOPLE = 500  # whom a trial is measured on; all trials are measured on the same
LEAST_PEOPLE = 100  # of a segment: of fewer, the interval of NDCG@10 is wider than what tuning can gain
BACKWARD = 2  # operations of a backward pass for each of a forward pass (Kaplan et al. 2020, arXiv:2001.08361)


@dataclass(frozen=True)
class Task:
    """Made once for all trials."""

    prepared: Prepared
    examples: Examples
    labels: NewItemLabels
    cases: Cases
    histories: Histories  # of the cases
    settings: TrainSettings  # those that the project has
    seed: int

    @property
    def people(self) -> int:
        """Who is measured."""
        return len(np.unique(self.cases.person))

    @cached_property
    def key(self) -> str:
        """SHA-256 in hexadecimal of all that a trial's result depends on besides its choice."""
        settings = (self.settings.history_length, recipe_of(FIXED, self.settings.recipe))
        arrays = (self.examples.baskets, self.labels.items, self.labels.share, self.cases.baskets)
        return fingerprint(self.prepared.record.data_sha256, self.seed, settings, *arrays)

    def new_teacher(self, recipe: TeacherRecipe) -> Teacher:
        """Before training: of every trial the same but for its shape."""
        torch.manual_seed(self.seed)
        teacher = self._untrained(recipe.shape)
        teacher.start_from(self._start)
        return teacher

    def _untrained(self, shape: TeacherShape) -> Teacher:
        codes = attribute_codes(self.prepared.items, shape.price_bands)
        return Teacher(shape, codes, purchase_counts(self.prepared))

    @cached_property
    def _start(self) -> NDArray[np.float32]:
        shape = self.settings.recipe.shape
        return spectral_vectors(self.labels, self._untrained(shape).popularity.numpy(), shape.width, self.seed)

    def measure(self, teacher: Teacher) -> PersonMetrics:
        """Quality of each person, at the copy head's best height; the teacher is left as it was."""
        training, people = teacher.training, len(self.prepared.pseudonym)
        offset = best_offset(lambda rows: teacher.parts(self.histories[rows]), self.cases, people)

        def score(rows: NDArray[np.int64]) -> torch.Tensor:
            scores, items, own = teacher.parts(self.histories[rows])
            return scores.scatter(1, items, own + offset)

        found = evaluate(score, self.cases, people)
        teacher.train(training)
        return found

    def training_flops(self, teacher: Teacher, recipe: TeacherRecipe) -> int:
        """Floating-point operations of a whole training, as PyTorch counts a batch's: on any machine the same."""
        rows = np.arange(recipe.batch) % len(self.examples)
        with torch.no_grad(), sdpa_kernel(SDPBackend.MATH), FlopCounterMode(display=False) as counter:
            catalogue = teacher.catalogue()
            query, _, _ = teacher(catalogue, *tensors(self.examples.histories[rows]))
            query @ catalogue[: UNIFORM_DRAWS + 1].T
        return counter.get_total_flops() * (1 + BACKWARD) * recipe.steps


def make_task(prepared: Prepared, settings: TrainSettings, seed: int, segment: str | None, progress: Progress) -> Task:
    """Draw and label the examples, and choose the people.

    Args:
        prepared: the log; phones are not read, nor are the test weeks.
        settings: those that the project has.
        seed: of everything random.
        segment: whose people are measured; learning is from everybody's baskets. None measures everybody's.
        progress: called with what is done, how far it is, and how far it goes.

    Raises:
        ConfigError: if there is no such segment.
        DataError: if it has too few people.
    """
    segments = fit_segments(prepared, seed)
    every = cases_for(prepared, VALIDATION)
    person = np.unique(every.person)
    if segment is not None:
        person = _of_segment(person, segments, segment)
    if len(person) > MOST_PEOPLE:
        person = np.random.default_rng(seed).choice(person, MOST_PEOPLE, replace=False)
    rows = np.flatnonzero(np.isin(every.person, person))
    cases = Cases(every.baskets[rows], every.person[rows], every.weights[rows], every.targets[rows], excluded=0)
    length = settings.history_length
    examples = examples_of(prepared, draw_baskets(prepared, TRAIN, settings.examples, seed), length, segments)
    labels = label_new_items(NewItemLabeller(prepared), examples, _named(progress, "label new items"))
    histories = histories_of(prepared, cases.baskets, length, context_of(prepared, cases.baskets, segments))
    return Task(prepared, examples, labels, cases, histories, settings, seed)


def _of_segment(person: NDArray[np.int32], segments: Segments, name: str) -> NDArray[np.int32]:
    counts = {each: int((segments.person[person] == code).sum()) for code, each in enumerate(segments.names, start=1)}
    told = ", ".join(f'"{each}" ({count:,} people)' for each, count in counts.items())
    if name not in counts:
        raise ConfigError(f'there is no segment "{name}": --segment takes {told}')
    if counts[name] < LEAST_PEOPLE:
        raise DataError(
            f'segment "{name}" has {counts[name]} people with baskets in the validation weeks, tuning needs '
            f"{LEAST_PEOPLE}: choose among {told}, or leave --segment out"
        )
    return person[segments.person[person] == segments.names.index(name) + 1]


def _named(progress: Progress, what: str) -> Callable[[int, int], None]:
    return lambda done, total: progress(what, done, total)
