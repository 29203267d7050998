"""RecBole's SASRec, epoch by epoch: run by `benchmarks/next_item_speed.py` in an environment of RecBole's own.

    python benchmarks/recbole_sasrec.py FOLDER LENGTH EPOCHS MINUTES

FOLDER holds `log/log.inter`, RecBole's form of a log whose ids are numbers. After every quarter of an epoch a line of
JSON says the seconds spent on training so far and NDCG@10 of the validation items among what each person has not seen.
Training ends when it has not improved for as many epochs as RecBole waits by default, or the time is up. What is
said last may then be of less than a quarter.

RecBole 1.2.1's settings for SASRec but for dropout, which is that of its peer: less of it learns faster here.
"""

import json
import sys
import time
from collections import defaultdict
from collections.abc import Iterator
from itertools import islice
from pathlib import Path

import torch
from recbole.config import Config
from recbole.data import create_dataset, data_preparation
from recbole.utils import get_model, get_trainer, init_seed

PATIENCE = 10  # epochs, RecBole's `stopping_step`
PARTS = 4  # of an epoch, which can take a quarter of an hour
SEED = 1


def settings(folder: Path, length: int) -> dict:
    return {
        "data_path": str(folder),
        "checkpoint_dir": str(folder / "saved"),
        "load_col": {"inter": ["user_id", "item_id", "timestamp"]},
        "MAX_ITEM_LIST_LENGTH": length,
        "eval_args": {"split": {"LS": "valid_and_test"}, "order": "TO", "mode": "full", "group_by": "user"},
        "train_neg_sample_args": None,
        "hidden_dropout_prob": 0.2,
        "attn_dropout_prob": 0.2,
        "show_progress": False,
        "state": "ERROR",
    }


def seen_before_validation(folder: Path, dataset) -> dict[int, list[int]]:
    """RecBole's numbers of what each person had before the last two events, by RecBole's number of the person."""
    of = defaultdict(list)
    lines = (folder / "log" / "log.inter").read_text().splitlines()[1:]
    for person, item, at in (line.split("\t") for line in lines):
        of[person].append((float(at), item))
    return {
        dataset.token2id("user_id", person): [dataset.token2id("item_id", item) for _, item in sorted(events)[:-2]]
        for person, events in of.items()
    }


@torch.no_grad()
def validation_ndcg(model, valid_data, seen: dict[int, list[int]]) -> float:
    model.eval()
    total, people = 0.0, 0
    for interaction, _, _, positive in valid_data:
        scores = model.full_sort_predict(interaction).view(len(interaction), -1)
        scores[:, 0] = -torch.inf
        wanted = positive[:, None]
        mark = scores.gather(1, wanted)
        for row, person in enumerate(interaction["user_id"].tolist()):
            scores[row, seen[person]] = -torch.inf
        scores.scatter_(1, wanted, -torch.inf)
        rank = (scores >= mark).sum(1)
        total += float((1 / torch.log2(rank + 2.0))[rank < 10].sum())
        people += len(rank)
    return total / people


def batches_until(batches: Iterator, most: int, end: float) -> Iterator:
    """Up to `most` further batches, none after `end` of the monotonic clock."""
    for batch in islice(batches, most):
        yield batch
        if time.monotonic() >= end:
            return


def main() -> None:
    folder, length, epochs, minutes = Path(sys.argv[1]), *(float(number) for number in sys.argv[2:5])
    config = Config(model="SASRec", dataset="log", config_dict=settings(folder, int(length)))
    init_seed(SEED, True)
    dataset = create_dataset(config)
    train_data, valid_data, _ = data_preparation(config, dataset)
    model = get_model("SASRec")(config, train_data.dataset)
    trainer = get_trainer(config["MODEL_TYPE"], config["model"])(config, model)
    seen = seen_before_validation(folder, dataset)
    spent, best, waited = 0.0, 0.0, 0
    for part in range(int(epochs) * PARTS):
        if part % PARTS == 0:
            batches = iter(train_data)
        started = time.monotonic()
        quarter = batches_until(batches, -(-len(train_data) // PARTS), started + 60 * minutes - spent)
        trainer._train_epoch(quarter, part // PARTS, show_progress=False)
        spent += time.monotonic() - started
        ndcg = validation_ndcg(model, valid_data, seen)
        print(json.dumps({"epoch": (part + 1) / PARTS, "seconds": spent, "ndcg_at_10": ndcg}), flush=True)
        best, waited = (ndcg, 0) if ndcg > best else (best, waited + 1)
        if waited == PATIENCE * PARTS or spent >= 60 * minutes:
            break


if __name__ == "__main__":
    main()
