"""A project's settings: the text of `pocketrec.toml` as frozen structs.

The structs are the only definition: a field's type, default, range and comment stand in one place.
`contracts.project_text` decodes the file, explains what is wrong with it and writes the commented template from them.
"""

from typing import Annotated, Literal

import msgspec
from msgspec import Meta

from contracts.bundle import DeviceClass
from contracts.events import EventType
from contracts.privacy import MIN_NOISE_MULTIPLIER
from contracts.segments import MAX_SEGMENTS, Method
from contracts.summary import TYPE_SHARE

COMPLETEJOURNEY = "completejourney"
FILENAME = "pocketrec.toml"
DEVICE_HEADS = 4  # of the device model's attention, which share its widths evenly


class Section(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A table of the project file; its docstring is the table's comment, its fields' descriptions are theirs."""


class Identification(Section, frozen=True):
    """What the project is called, and what makes its runs repeatable."""

    name: Annotated[str, Meta(pattern="^[a-z0-9][a-z0-9_-]{0,62}$", description="of the bundles and the run")] = (
        "pocketrec"
    )
    seed: Annotated[int, Meta(ge=0, le=2**31 - 1, description="every random choice but cryptography follows it")] = 7
    currency: Annotated[str, Meta(pattern="^[A-Z]{3}$", description="ISO 4217 code of all prices in the log")] = "USD"


class Columns(Section, frozen=True):
    """Which columns of the log hold what (not read for completejourney)."""

    person: Annotated[str, Meta(description="who: any id, kept only as a keyed hash")] = "person"
    item: Annotated[str, Meta(description="what: the product's id")] = "item"
    time: Annotated[str, Meta(description="when: date and time, ISO 8601 text, or a number since 1970")] = "time"
    order: Annotated[
        str | None, Meta(description="order or basket id; without it one hour of one person is a basket")
    ] = None
    quantity: Annotated[str | None, Meta(description="pieces; without it 1. Negative pieces are a refund")] = None
    price: Annotated[str | None, Meta(description="price of one piece, in the currency's major unit")] = None
    amount: Annotated[str | None, Meta(description="price of the whole line, where the log has no price a piece")] = (
        None
    )
    type: Annotated[str | None, Meta(description="event type; without it every row is a purchase")] = None
    device: Annotated[str | None, Meta(description="class of the device on which it happened")] = None
    category: Annotated[str | None, Meta(description="of the item, in the log or in the products file")] = None
    department: Annotated[str | None, Meta(description="of the item: a coarser category")] = None
    brand: Annotated[str | None, Meta(description="of the item")] = None
    name: Annotated[str | None, Meta(description="of the item, for people to read")] = None


class Data(Section, frozen=True):
    """Where the event log is and how to read it."""

    source: Annotated[
        str, Meta(min_length=1, description='"completejourney" or a CSV or Parquet file, relative to this file')
    ] = COMPLETEJOURNEY
    products: Annotated[
        str | None, Meta(description="CSV or Parquet file with one row per item, joined by the item column")
    ] = None
    time_unit: Annotated[
        Literal["auto", "s", "ms", "us", "ns"], Meta(description="unit of times that are numbers since 1970")
    ] = "auto"
    timezone: Annotated[str, Meta(description="IANA zone of times that name none, such as Europe/London")] = "UTC"
    types: Annotated[
        dict[str, EventType],
        Meta(description='the log\'s words for event types, such as {"buy" = "purchase", "click" = "view"}'),
    ] = {}
    devices: Annotated[
        dict[str, DeviceClass],
        Meta(description='the log\'s words for device classes, such as {"ios" = "phone", "pos" = "till"}'),
    ] = {}
    columns: Columns = Columns()


class Clean(Section, frozen=True):
    """Which rows and items are left out; each is counted by its reason."""

    minimum_people: Annotated[
        int, Meta(ge=1, le=10_000, description="items bought by fewer people before the test weeks are left out")
    ] = 5
    minimum_price: Annotated[float, Meta(ge=0, le=1e9, description="of one piece; 0 keeps what a coupon made free")] = (
        0.0
    )
    maximum_price: Annotated[float, Meta(gt=0, le=1e9, description="of one piece; above is taken for an error")] = (
        10_000.0
    )
    exclude_items: Annotated[
        tuple[str, ...], Meta(description="ids that are no products, such as postage or discounts")
    ] = ()

    def __post_init__(self) -> None:
        if self.minimum_price > self.maximum_price:
            raise ValueError(
                f"minimum_price = {self.minimum_price} is above maximum_price = {self.maximum_price}: lower the first"
            )


Protocol = Literal["next_basket", "global_time", "leave_one_out"]


class Split(Section, frozen=True):
    """What is held out: by time, training, then validation, then test weeks; or of each person the last baskets."""

    protocol: Annotated[
        Protocol,
        Meta(
            description="next_basket: each basket of the held-out weeks is asked for; global_time: all that a person "
            "takes in them at once; leave_one_out: each person's last basket, in whatever week (leaves no weeks for "
            "phones)"
        ),
    ] = "next_basket"
    test_weeks: Annotated[int, Meta(ge=1, le=520, description="the last weeks of the log")] = 4
    validation_weeks: Annotated[int, Meta(ge=1, le=520, description="the weeks before the test weeks")] = 4


class Learning(Section, frozen=True):
    """What of the log is learned from, and what is to be foreseen."""

    targets: Annotated[
        tuple[EventType, ...],
        Meta(min_length=1, description="event types that are foreseen; a basket without one is history only"),
    ] = (EventType.PURCHASE,)
    weights: Annotated[
        dict[EventType, Annotated[float, Meta(ge=0, le=1)]],
        Meta(
            description="of an event type in popularity, neighbours and targets, in purchases; what is left out weighs "
            "as in a person's history: view 0.03, add_to_cart 0.25"
        ),
    ] = {}

    def __post_init__(self) -> None:
        for kind in (*self.targets, *self.weights):
            if not TYPE_SHARE[kind]:
                known = ", ".join(each for each, share in TYPE_SHARE.items() if share)
                raise ValueError(f"{kind.value!r} is no sign of interest and never learned from: allowed are {known}")
        for kind in self.targets:
            if not self.weight(kind):
                raise ValueError(f"{kind.value!r} is a target and has weight 0: give it more, or take it off targets")

    def weight(self, kind: EventType) -> float:
        """Of one event, in purchases."""
        return self.weights.get(kind, TYPE_SHARE[kind] / 64)


class Segmentation(Section, frozen=True):
    """People are told apart by what, how often, how regularly and for how much they buy."""

    method: Annotated[Method, Meta(description="how segments are found; a new person gets the nearest centre")] = (
        "kmeans"
    )
    count: Annotated[
        Annotated[int, Meta(ge=2, le=MAX_SEGMENTS)] | Literal["auto"],
        Meta(description='2 to 20, or "auto": the number from 3 to 10 that silhouette and Davies-Bouldin like best'),
    ] = "auto"


class Model(Section, frozen=True):
    """The device model."""

    history_length: Annotated[
        int, Meta(ge=8, le=1024, description="L: distinct items of a person's history that the model reads")
    ] = 256
    candidates: Annotated[
        int, Meta(ge=10, le=1000, description="K: items that `recommend` returns, for the app to filter")
    ] = 100
    width: Annotated[int, Meta(ge=8, le=512, multiple_of=DEVICE_HEADS, description="of the item vectors")] = 64
    task: Annotated[
        Literal["next_basket", "next_item"],
        Meta(description="next_basket: people buy again; next_item: they seldom do, and order is what counts"),
    ] = "next_basket"


class NextItem(Section, frozen=True):
    """Teacher and device model of task = "next_item"; [teacher] and [compression] then say nothing but the device."""

    teacher_width: Annotated[int, Meta(ge=8, le=4096, description="of the teacher's vectors")] = 128
    teacher_blocks: Annotated[int, Meta(ge=1, le=24, description="of self-attention")] = 3
    teacher_epochs: Annotated[int, Meta(ge=1, le=10_000, description="passes over the log")] = 24
    dropout: Annotated[float, Meta(ge=0, lt=1, description="share of activations left out while training")] = 0.3
    blocks: Annotated[int, Meta(ge=1, le=8, description="of self-attention, of the device model")] = 2
    hidden: Annotated[
        int,
        Meta(
            ge=0,
            le=512,
            multiple_of=DEVICE_HEADS,
            description="width within the device model's blocks; 0: that of the item vectors",
        ),
    ] = 0
    feed: Annotated[
        int,
        Meta(ge=1, le=8, description="the device model's feed-forward layers are this times as wide"),
    ] = 4
    epochs: Annotated[int, Meta(ge=1, le=10_000, description="passes over the log, of the device model")] = 30
    successors: Annotated[
        int,
        Meta(
            ge=0,
            le=64,
            description="of each item, kept in the device model if validation heeds it: what most often comes after",
        ),
    ] = 8


class Teacher(Section, frozen=True):
    """The sequence model that trains centrally and teaches the device model."""

    examples: Annotated[int, Meta(ge=1, le=10_000_000, description="baskets that are learned from")] = 30_000
    steps: Annotated[int, Meta(ge=1, le=1_000_000, description="batches of 256 examples")] = 300
    learning_rate: Annotated[float, Meta(gt=0, le=1, description="highest, after a warm-up")] = 5e-3
    copy_learning_rate: Annotated[float, Meta(gt=0, le=1, description="of what scores a person's own items")] = 1e-3
    new_item_weight: Annotated[float, Meta(ge=0, le=100, description="of new items' loss beside the baskets'")] = 2.0
    dropout: Annotated[float, Meta(ge=0, lt=1, description="share of activations left out while training")] = 0.2
    blocks: Annotated[int, Meta(ge=1, le=12, description="of self-attention")] = 1
    recent: Annotated[int, Meta(ge=1, le=1024, description="latest items of a history that attend to each other")] = 64
    price_bands: Annotated[
        int, Meta(ge=0, le=20, description="quantiles of price within a category, as an attribute of items; 0: none")
    ] = 0
    continue_steps: Annotated[
        int, Meta(ge=1, le=1_000_000, description="batches of `pocketrec train --from`, on newer weeks")
    ] = 100
    device: Annotated[
        Literal["auto", "cpu", "cuda"], Meta(description="auto takes a GPU where there is one; torchrun takes several")
    ] = "auto"


class Privacy(Section, frozen=True):
    """Differential privacy of the people whose data train the teacher; phones' rounds have their own, [federated]."""

    training: Annotated[
        Literal["none", "private"],
        Meta(description="private: noise on all that is learned; the device model learns from the teacher alone"),
    ] = "none"
    epsilon: Annotated[
        float, Meta(gt=0, le=100, description="of all central training in a run, add/remove one person")
    ] = 8.0
    delta: Annotated[
        float, Meta(gt=0, lt=1, description="the guarantee's failure probability, below one in all people")
    ] = 1e-5
    clipping_norm: Annotated[float, Meta(gt=0, le=1e6, description="C: largest L2 norm of one person's gradient")] = 1.0
    sampling_rate: Annotated[float, Meta(gt=0, le=1, description="q: each person's chance in a step")] = 0.1
    steps: Annotated[int, Meta(ge=1, le=100_000, description="of DP-SGD; more of them need more noise on each")] = 30


class Compression(Section, frozen=True):
    """How the device model is distilled, pruned and quantized."""

    steps: Annotated[int, Meta(ge=1, le=1_000_000, description="batches of 256 examples")] = 450
    item_codes: Annotated[
        Literal["auto", "on", "off"],
        Meta(description="store items as codes of a few bytes and search them in lists; auto: from 50,000 items on"),
    ] = "auto"
    code_bytes: Annotated[int, Meta(ge=1, le=64, description="of an item's code, at most the model's width")] = 16
    warm_start_steps: Annotated[int, Meta(ge=1, le=1_000_000, description="of the next bundle, on newer weeks")] = 100
    warm_start_examples: Annotated[
        int, Meta(ge=1, le=10_000_000, description="baskets of newer weeks that these steps learn from")
    ] = 8_000


class Federated(Section, frozen=True):
    """Federated rounds over the phones that consented, with central differential privacy of people."""

    rounds: Annotated[int, Meta(ge=1, le=10_000, description="rounds of one run")] = 1
    gateways: Annotated[int, Meta(ge=1, le=64, description="processes between the server and the phones")] = 2
    sampling_rate: Annotated[float, Meta(gt=0, le=1, description="q: each enrolled person's chance in a round")] = 1.0
    clipping_norm: Annotated[float, Meta(gt=0, le=1e6, description="C: largest L2 norm of one person's update")] = 1.0
    noise_multiplier: Annotated[
        float, Meta(ge=MIN_NOISE_MULTIPLIER, le=1e6, description="z: the noise on the sum has the deviation z * C")
    ] = 1.0
    delta: Annotated[
        float, Meta(gt=0, lt=1, description="the guarantee's failure probability, well below one in all people")
    ] = 1e-5
    epsilon_budget: Annotated[
        float, Meta(gt=0, le=1e6, description="a round that would charge the ledger beyond it is refused")
    ] = 10.0
    learning_rate: Annotated[float, Meta(gt=0, le=100, description="of the phones")] = 0.05
    epochs: Annotated[int, Meta(ge=1, le=100, description="passes of a phone over its own examples")] = 1


class Fleet(Section, frozen=True):
    """Simulated phones that replay real people."""

    phones: Annotated[
        int,
        Meta(ge=0, le=10_000, description="people left out of everything central; at most a quarter of all people"),
    ] = 25


class Server(Section, frozen=True):
    """The sync server."""

    host: Annotated[str, Meta(min_length=1, description="address it listens on")] = "127.0.0.1"
    port: Annotated[int, Meta(ge=0, le=65_535, description="0 takes a free one")] = 8080
    workers: Annotated[int, Meta(ge=1, le=256, description="processes; one runs inside `pocketrec serve`")] = 1
    tls: Annotated[
        Literal["auto", "self-signed", "proxied"],
        Meta(
            description='"auto": plain HTTP where only this machine can reach it, else "self-signed": a certificate of '
            'its own; "proxied": plain HTTP, a proxy in front speaks TLS'
        ),
    ] = "auto"
    certificate: Annotated[
        str | None, Meta(description="PEM file to serve with, of the operator's own; then `key` too")
    ] = None
    key: Annotated[str | None, Meta(description="PEM file of the certificate's key")] = None
    database: Annotated[
        str | None,
        Meta(
            description="such as postgresql://name@host/shop, the password in PGPASSWORD or ~/.pgpass; "
            "without it SQLite in the run"
        ),
    ] = None
    erasure_journal: Annotated[
        str | None,
        Meta(description="file of what was erased, on another disk than the database; without it in the run"),
    ] = None


class Project(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Everything a run depends on besides the data and the code."""

    project: Identification = Identification()
    data: Data = Data()
    clean: Clean = Clean()
    split: Split = Split()
    learning: Learning = Learning()
    segments: Segmentation = Segmentation()
    model: Model = Model()
    teacher: Teacher = Teacher()
    next_item: NextItem = NextItem()
    privacy: Privacy = Privacy()
    compression: Compression = Compression()
    federated: Federated = Federated()
    fleet: Fleet = Fleet()
    server: Server = Server()

    def __post_init__(self) -> None:
        if self.split.protocol == "leave_one_out" and self.fleet.phones:
            raise ValueError(
                'protocol = "leave_one_out" under [split] leaves no weeks for phones to live through: set phones = 0 '
                'under [fleet], or take protocol = "next_basket" or "global_time"'
            )
        if self.model.task == "next_item" and self.privacy.training == "private":
            raise ValueError(
                'task = "next_item" under [model] cannot be trained privately: take task = "next_basket", or '
                'training = "none" under [privacy]'
            )
        others = self.model.task == "next_item" or self.privacy.training == "private"
        if self.compression.item_codes == "on" and others:
            raise ValueError(
                'item_codes = "on" under [compression] is for task = "next_basket" without privacy: take "auto"'
            )
