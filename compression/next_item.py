"""Distillation of a device model with blocks: at every place of every history, towards what the teacher says follows.

Soft labels as in Hinton, Vinyals and Dean 2015 (arXiv:1503.02531), over the teacher's best items; the softmax runs over
the whole catalogue but for what the person took before. The device model's copy head answers for that, or the app does
not wish to see it, so that a query need not both find what is like the history and shun the history itself.
"""

from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np
import tensorflow as tf
import tf_keras
import torch

from compression.catalogue_softmax import soft_cross_entropy
from compression.device_model import DeviceModel, DeviceModelSpec
from compression.gelu import products_for_powers
from compression.item_table import TrainableTable
from compression.muon import Muon
from compression.pruning import pruning
from compression.recipe import ALL_INT8, Recipe
from contracts.bundle import WISH, WISHES
from contracts.events import EVENT_CODES, EventType
from training.fit_teacher import cosine
from training.sequence.leave_one_out import ScoreRecent
from training.sequence.sequences import Sequences
from training.sequence.soft_labels import NextItemLabels
from training.sequence.windows import WindowBatch, batches

GRADIENT_NORM = 1.0
VECTOR_DEVIATION = 0.2  # of the initial table's entries
NEGLIGIBLE = 1e-5  # of the strongest direction of the teacher's vectors: below it is rounding
NO_SHARE = 1e-9  # of a teacher all of whose best items were taken before
POPULARITY = 5.0  # what the query multiplies popularity with, so that its column is as small as the others


@dataclass(frozen=True)
class NextItemDistillation:
    epochs: int = 30
    positions: int = 1_600  # of a batch
    matrix_rate: float = 3e-3  # of the blocks' matrices, by Muon
    rate: float = 2e-3  # of all else, by Adam
    soft: float = 0.9  # share of the teacher's word in the loss; the rest is what followed
    temperature: float = 1.0
    quantize_from: float = 0.5  # share of the steps after which the table is trained on its grid
    sparsity: float = 0.0  # of the encoders' dense weights at the end

    def slower(self, times: float) -> "NextItemDistillation":
        """The same at lower rates, for a model that is good already: on its grid from the start, no longer pruned."""
        rate, matrix_rate = self.rate / times, self.matrix_rate / times
        return replace(self, rate=rate, matrix_rate=matrix_rate, quantize_from=0.0, sparsity=0.0)


def new_student(spec: DeviceModelSpec, labels: NextItemLabels, seed: int, recipe: Recipe = ALL_INT8) -> DeviceModel:
    """A device model to be distilled, whose table begins with what the teacher's vectors say.

    Args:
        spec: shapes.
        labels: of the teacher.
        seed: of all other weights.
        recipe: how it will be stored.
    """
    model = DeviceModel.create(spec, initial_table(labels, spec.width), seed, recipe)
    model.adapter["popularity"].assign([POPULARITY])
    return model


def initial_table(labels: NextItemLabels, width: int) -> np.ndarray:
    """The teacher's vectors in fewer dimensions, those that tell most of them apart (Eckart and Young 1936).

    What all vectors share says nothing of an item and is taken out. Columns begin equally strong (whitened): they learn
    alike, and none takes most of an item's coarse grid for itself.

    Returns:
        float32 [items + 1, width]; the last but one column is a share of the teacher's bias, the last is 0.
    """
    free, vectors = width - 2, labels.vectors[1:]
    left, strength, _ = np.linalg.svd(vectors - vectors.mean(0), full_matrices=False)
    kept = left[:, :free] * (strength[:free] > NEGLIGIBLE * strength[0])
    table = np.zeros((len(labels.vectors), width), np.float32)
    table[1:, : kept.shape[1]] = kept * (VECTOR_DEVIATION / kept.std())
    table[1:, -2] = (labels.bias[1:] - labels.bias[1:].mean()) / POPULARITY
    return table


def inputs_of(items: np.ndarray, spec: DeviceModelSpec) -> dict[str, tf.Tensor]:
    """The device model's inputs for histories of which only the order is known, int [B, L], padding 0.

    Each item counts once, has no age, and the app wishes for new ones.
    """
    held = items > 0
    context = np.zeros((len(items), len(spec.context)), np.int32)
    for column, field in enumerate(spec.context):
        if field.name == WISH:
            context[:, column] = WISHES["new"]
    return {
        "items": tf.constant(items, tf.int32),
        "events": tf.constant(held * EVENT_CODES[EventType.PURCHASE], tf.int32),
        "counts": tf.constant(held, tf.float32),
        "ages": tf.zeros(items.shape),
        "context": tf.constant(context),
    }


def distil_next_item(
    model: DeviceModel,
    sequences: Sequences,
    labels: NextItemLabels,
    recipe: NextItemDistillation,
    seed: int,
    progress: Callable[[int, int], None],
) -> list[float]:
    """Train a device model with blocks in place, quantizing its table on the way.

    Args:
        model: over a `TrainableTable`.
        sequences: to learn from.
        labels: of every event of these.
        recipe: how long, how fast, and whose word counts.
        seed: of windows.
        progress: called with epochs done and all epochs.

    Returns:
        The mean loss of every epoch.
    """
    table = model.table
    if not isinstance(table, TrainableTable):
        raise TypeError("a frozen table cannot be trained: start from a TrainableTable")
    rng = np.random.default_rng(seed)
    length = model.spec.history_length
    steps = recipe.epochs * sum(1 for _ in batches(sequences, length, recipe.positions, 1, rng))
    number, found = 0, []
    with pruning(model, recipe.sparsity, steps) as prune:
        step = _step(model, recipe)
        for epoch in range(recipe.epochs):
            losses = []
            for batch in batches(sequences, length, recipe.positions, 1, rng):
                if number >= recipe.quantize_from * steps and not table.is_quantized:
                    table.start_quantization()
                slowed = tf.constant(cosine(min(number, steps), steps), tf.float32)
                losses.append(step(*_aligned(batch, sequences, labels, recipe, model), slowed))
                prune(number)
                number += 1
            found.append(float(np.mean(losses)))
            progress(epoch + 1, recipe.epochs)
    table.end_training()
    return found


def _aligned(
    batch: WindowBatch,
    sequences: Sequences,
    labels: NextItemLabels,
    recipe: NextItemDistillation,
    model: DeviceModel,
) -> tuple[dict[str, tf.Tensor], tf.Tensor, tf.Tensor, tf.Tensor, tf.Tensor]:
    """A batch as the phone holds it, padding first, with what its known places should say, in order.

    Returns:
        the model's inputs [B, T]; which of the B x T places are known, int32 [N], N the most that a batch may have and
        the first place where there are fewer; the items that each should say, what followed last, int32 [N, K + 1];
        their shares, float32 [N, K + 1], 0 where there are fewer; and what was taken before, bool [N, items + 1].
    """
    length = batch.items.shape[1]
    place = np.arange(length) - (length - batch.size)[:, None]  # negative before the first item
    at = np.maximum(place, 0)
    items = np.where(place >= 0, np.take_along_axis(batch.items, at, 1), 0)
    known = place >= 0
    event = np.take_along_axis(batch.event, at, 1)[known]
    targets = np.take_along_axis(batch.targets[..., 0], at, 1)[known]
    taken = sequences.taken_before(event)
    wanted = np.concatenate([labels.items[event], targets[:, None]], 1)
    shares = np.ones(wanted.shape, np.float32)
    shares[:, :-1] = np.exp(labels.log_share[event].astype(np.float32) / recipe.temperature)
    shares[np.take_along_axis(taken, wanted, 1)] = 0.0
    shares[:, :-1] *= recipe.soft / np.maximum(shares[:, :-1].sum(1, keepdims=True), NO_SHARE)
    shares[:, -1] *= 1.0 - recipe.soft
    most = max(recipe.positions, model.spec.history_length)
    return (
        {name: value for name, value in inputs_of(items, model.spec).items() if name not in ("counts", "ages")},
        _padded(np.flatnonzero(known.ravel()).astype(np.int32), most),
        _padded(wanted.astype(np.int32), most),
        _padded(shares, most),
        _padded(taken, most),
    )


def _padded(rows: np.ndarray, most: int) -> tf.Tensor:
    """With rows of 0 behind, `most` in all."""
    return tf.constant(np.pad(rows, [(0, most - len(rows))] + [(0, 0)] * (rows.ndim - 1)))


def _step(model: DeviceModel, recipe: NextItemDistillation) -> Callable[..., tf.Tensor]:
    """One step of Muon and Adam, compiled; answers with the loss."""
    encoder = model.token_encoder.trainable_variables
    matrices = [each for each in encoder if len(each.shape) == 2]
    others = [
        *(each for each in encoder if len(each.shape) != 2),
        *model.query_encoder.trainable_variables,
        *model.table.trained,
        model.adapter["query_bias"],
    ]
    variables = matrices + others
    groups = (
        (Muon(recipe.matrix_rate), recipe.matrix_rate, matrices),
        (tf_keras.optimizers.Adam(recipe.rate, beta_2=0.98), recipe.rate, others),
    )

    history, flat = tf.TensorSpec((None, None), tf.int32), tf.TensorSpec((None,), tf.int32)
    inputs_spec = dict.fromkeys(("items", "events", "context"), history)
    share_spec, taken_spec = tf.TensorSpec((None, None), tf.float32), tf.TensorSpec((None, None), tf.bool)

    @tf.function(input_signature=(inputs_spec, flat, history, share_spec, taken_spec, tf.TensorSpec((), tf.float32)))
    def step(
        inputs: dict[str, tf.Tensor],
        known: tf.Tensor,
        wanted: tf.Tensor,
        share: tf.Tensor,
        taken: tf.Tensor,
        slowed: tf.Tensor,
    ) -> tf.Tensor:
        with tf.GradientTape() as tape, products_for_powers():
            queries = model.queries_at(**inputs)
            asked = tf.gather(tf.reshape(queries, (-1, model.spec.width)), known)
            loss = soft_cross_entropy(asked, model.table.seen(), wanted, share, taken)
        gradients = [tf.convert_to_tensor(gradient) for gradient in tape.gradient(loss, variables)]
        clipped, _ = tf.clip_by_global_norm(gradients, GRADIENT_NORM)
        of = {variable.ref(): gradient for gradient, variable in zip(clipped, variables, strict=True)}
        for optimizer, highest, members in groups:
            optimizer.learning_rate.assign(highest * slowed)
            optimizer.apply_gradients([(of[each.ref()], each) for each in members])
        return loss

    return step


def next_item_scores(model: DeviceModel) -> ScoreRecent:
    """Scores of the model in float32, many histories at once, for `training.sequence.leave_one_out.ranks`."""
    table, successors = model.table.frozen().values(), model.successors
    encode = tf.function(model.encode, reduce_retracing=True)

    def score(recent: np.ndarray) -> torch.Tensor:
        query, _, _ = encode(**inputs_of(recent, model.spec))
        scores = torch.from_numpy(query.numpy() @ table.T)
        return scores + float(successors.heed) * successors.log_shares(recent) if successors else scores

    return score
