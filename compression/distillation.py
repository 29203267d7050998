"""Distillation of the device model: towards the teacher's queries, its view of the history, new items, and baskets.

Soft labels as in Hinton, Vinyals and Dean 2015 (arXiv:1503.02531), hidden states as in FitNets (arXiv:1412.6550).
"""

from collections.abc import Callable
from dataclasses import dataclass, fields, replace

import numpy as np
import tensorflow as tf
import tf_keras

from compression.device_model import MASKED, DeviceModel
from compression.gelu import products_for_powers
from compression.item_table import FrozenTable
from compression.pruning import pruning
from compression.training_data import DistillationBatch, distillation_batches
from training.examples import Examples
from training.fit_teacher import cosine
from training.soft_labels import SoftLabels

UNIFORM_DRAWS = 2048
CAPACITY = 12_288  # candidates of a batch; what does not fit is not seen in that step
HIDDEN_TOKENS = 0.1
GRADIENT_NORM = 1.0


@dataclass(frozen=True)
class DistillationRecipe:
    steps: int = 450
    batch: int = 256
    rate: float = 4e-3  # of the encoders
    table_rate: float = 4e-3  # of the item table, which starts as the teacher's
    adapter_rate: float = 1e-3
    query_weight: float = 0.5
    history_weight: float = 1.0
    temperature: float = 2.0  # by which the teacher's scores of the history are divided; measured, see docs/results.md
    new_item_weight: float = 4.0
    basket_weight: float = 1.0
    quantize_from: float = 0.5  # share of the steps after which the table is trained on its int8 grid
    sparsity: float = 0.5  # of the encoders' dense weights at the end; 0: not pruned
    m_by_n: tuple[int, int] | None = None  # m zeros in every n weights of a unit, instead of anywhere

    def slower(self, times: float) -> "DistillationRecipe":
        """The same at lower rates, for a model that is good already; its table is on its grid from the start."""
        rates = {name: getattr(self, name) / times for name in ("rate", "table_rate", "adapter_rate")}
        return replace(self, **rates, quantize_from=0.0)


@dataclass(frozen=True)
class Losses:
    query: float
    history: float
    new_items: float
    baskets: float


def _losses(model: DeviceModel, batch: dict[str, tf.Tensor], drop: float, temperature: float) -> tuple[tf.Tensor, ...]:
    """The four losses of one batch, each a scalar."""
    items = batch["items"]
    hide = tf.random.uniform(tf.shape(items)) < drop
    query, base, gain = model.encode(items, batch["events"], batch["counts"], batch["ages"], batch["context"], hide)
    absent = tf.cast(tf.equal(items, 0), tf.float32) * MASKED
    size, width = tf.shape(query)[0], model.spec.width
    free = query[:, : width - 2]
    similarity = tf.reduce_sum(tf.square(free - batch["query"]), -1) / (
        tf.reduce_sum(tf.square(batch["query"]), -1) + 1.0
    )
    own = base + gain + absent
    teacher = tf.nn.softmax(batch["history_scores"] / temperature + absent)
    has_history = tf.cast(tf.reduce_any(items > 0, axis=1), tf.float32)
    history = -tf.reduce_sum(teacher * tf.nn.log_softmax(own), -1) * has_history
    scores = tf.matmul(query, model.table.rows(batch["candidates"]), transpose_b=True)
    capacity = tf.shape(scores)[1]
    row = tf.tile(tf.range(size)[:, None], (1, tf.shape(items)[1]))
    masked = tf.tensor_scatter_nd_update(
        tf.zeros((size, capacity + 1)),
        tf.stack([tf.reshape(row, (-1,)), tf.reshape(batch["hidden"], (-1,))], -1),
        tf.fill((tf.size(items),), np.float32(MASKED)),
    )[:, :-1]
    padding = tf.where(batch["candidates"] > 0, 0.0, MASKED)
    new = scores + masked + padding
    labelled = tf.gather(new, batch["label_place"], batch_dims=1)
    new_items = tf.reduce_sum(batch["label_share"] * (tf.reduce_logsumexp(new, 1, keepdims=True) - labelled), -1)
    # Who bought which new item would be learned by heart: of new items, baskets teach the copy head's height alone.
    new, scores = tf.stop_gradient(new), tf.stop_gradient(scores)
    everything = tf.concat([own, new - tf.where(batch["candidates"] > 0, batch["correction"], 0.0)], axis=1)
    total = tf.reduce_logsumexp(everything, axis=1, keepdims=True)
    wanted = tf.gather(tf.concat([own, scores], axis=1), batch["target_place"], batch_dims=1)
    baskets = tf.reduce_sum(batch["target_share"] * (total - wanted), -1)
    return tuple(tf.reduce_mean(loss) for loss in (similarity, history, new_items, baskets))


def distil(
    model: DeviceModel,
    examples: Examples,
    labels: SoftLabels,
    recipe: DistillationRecipe,
    seed: int,
    progress: Callable[[int, int], None],
) -> list[Losses]:
    """Train a device model in place, pruning its encoders and quantizing its table on the way.

    Args:
        model: over a `TrainableTable`, `TrainableCodes`, or `FrozenCodes`, which stay as they are.
        examples: n.
        labels: of the same n examples.
        recipe: weights of the losses, rates and schedules.
        seed: of batches and hidden tokens.
        progress: called with steps done and all steps.

    Returns:
        The losses of every step.
    """
    table = model.table
    if isinstance(table, FrozenTable):
        raise TypeError("a frozen table cannot be trained: start from a TrainableTable")
    tf.random.set_seed(seed)
    found = []
    batches = distillation_batches(examples, labels, recipe.batch, UNIFORM_DRAWS, CAPACITY, seed)
    with pruning(model, recipe.sparsity, recipe.steps, recipe.m_by_n) as prune:
        step = _step(model, recipe)
        for number in range(recipe.steps):
            if number == int(recipe.quantize_from * recipe.steps) and not table.is_quantized:
                table.start_quantization()
            losses = step(_tensors(next(batches)), tf.constant(cosine(number, recipe.steps), tf.float32))
            found.append(Losses(*(float(loss) for loss in losses)))
            prune(number)
            table.after_step(number)
            progress(number + 1, recipe.steps)
    table.end_training()
    return found


def _step(model: DeviceModel, recipe: DistillationRecipe) -> Callable[..., tuple[tf.Tensor, ...]]:
    """One step of Adam over batch and share of the learning rate, compiled; answers with the four losses."""
    encoders = [*model.token_encoder.trainable_variables, *model.query_encoder.trainable_variables]
    groups = (
        (encoders, recipe.rate),
        (model.table.trained, recipe.table_rate),
        (list(model.adapter.values()), recipe.adapter_rate),
    )
    optimizers = [tf_keras.optimizers.Adam(rate) for _, rate in groups]
    weights = (recipe.query_weight, recipe.history_weight, recipe.new_item_weight, recipe.basket_weight)
    variables = [variable for members, _ in groups for variable in members]

    @tf.function
    def step(batch: dict[str, tf.Tensor], share: tf.Tensor) -> tuple[tf.Tensor, ...]:
        with tf.GradientTape() as tape, products_for_powers():
            losses = _losses(model, batch, HIDDEN_TOKENS, recipe.temperature)
            loss = tf.add_n([weight * value for weight, value in zip(weights, losses, strict=True)])
        gradients = tape.gradient(loss, variables)
        known = [
            (tf.convert_to_tensor(gradient), variable)
            for gradient, variable in zip(gradients, variables, strict=True)
            if gradient is not None
        ]
        clipped, _ = tf.clip_by_global_norm([gradient for gradient, _ in known], GRADIENT_NORM)
        of = {variable.ref(): gradient for gradient, (_, variable) in zip(clipped, known, strict=True)}
        for optimizer, (members, rate) in zip(optimizers, groups, strict=True):
            optimizer.learning_rate.assign(rate * share)
            optimizer.apply_gradients([(of[v.ref()], v) for v in members if v.ref() in of])
        return losses

    return step


def _tensors(batch: DistillationBatch) -> dict[str, tf.Tensor]:
    return {field.name: tf.constant(getattr(batch, field.name)) for field in fields(batch)}
