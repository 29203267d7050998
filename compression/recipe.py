"""A recipe: everything that decides what becomes of a distilled device model, and its name.

A name decodes: `prune50_cluster16_qat_dynamic_wi8_afp32_ti4` is half of the dense weights pruned, what is left in 16
clusters, quantization-aware training, dense weights int8 that multiply activations rounded to int8 in each call
(`dynamic`; `weightonly`: activations as they are), activations kept as float32, and an int4 item table, where another
storage than the dense weights' is used; `_pq16` in its place: item codes of 16 bytes. What is not done is not named.
"""

import re
from dataclasses import dataclass
from typing import Literal, get_args

from contracts.errors import ConfigError

Storage = Literal["int4", "int8", "float16", "float32"]
STORAGES: tuple[Storage, ...] = get_args(Storage)
Activations = Literal["float32", "int8"]
ABBREVIATIONS: dict[Storage, str] = {"int4": "i4", "int8": "i8", "float16": "fp16", "float32": "fp32"}
_EXPANDED = {short: storage for storage, short in ABBREVIATIONS.items()}
_STORAGE = "|".join(_EXPANDED)
_NAME = re.compile(
    r"(?:prune(?:(?P<m>\d+)by(?P<n>\d+)|(?P<pruned>\d+))_)?(?:cluster(?P<clusters>\d+)_)?(?P<aware>qat_)?"
    rf"(?P<kernels>dynamic|weightonly)_w(?P<dense>{_STORAGE})_afp32(?:_t(?P<table>{_STORAGE})|_pq(?P<codes>\d+))?"
)
MAX_PRUNED, MAX_CLUSTERS = 95, 256


@dataclass(frozen=True)
class Recipe:
    """How a device model is compressed.

    Attributes:
        pruned: percent of the dense layers' weights that are 0.
        m_by_n: m zeros in every n weights of a unit, instead of anywhere.
        clusters: distinct values of each dense layer's weights, 0: not clustered.
        aware: whether it is trained on as it will be stored.
        dense: storage of the dense layers' weights.
        table: storage of the item table.
        activations: what integers of dense layers are multiplied with: int8, to which they are rounded in each call,
            or float32, by expanding the integers when the model is loaded.
        code_bytes: of an item, where the catalogue is coded; 0: a table.
    """

    pruned: int = 0
    m_by_n: tuple[int, int] | None = None
    clusters: int = 0
    aware: bool = False
    dense: Storage = "int8"
    table: Storage = "int8"
    activations: Activations = "int8"
    code_bytes: int = 0

    def __post_init__(self) -> None:
        if not 0 <= self.pruned <= MAX_PRUNED:
            raise ConfigError(f"{self.pruned} % of the weights cannot be pruned: take 0 to {MAX_PRUNED}")
        if self.m_by_n is not None and not 0 < self.m_by_n[0] < self.m_by_n[1] <= 16:
            raise ConfigError(f"{self.m_by_n[0]} zeros in {self.m_by_n[1]} weights: take fewer zeros than weights")
        if self.m_by_n is not None and self.pruned != percent(*self.m_by_n):
            raise ConfigError(f"{self.m_by_n} prunes {percent(*self.m_by_n)} %, not {self.pruned} %: give the former")
        if self.clusters and not 2 <= self.clusters <= MAX_CLUSTERS:
            raise ConfigError(f"{self.clusters} clusters: take 2 to {MAX_CLUSTERS}, or 0 for none")
        if self.code_bytes and self.table != self.dense:
            raise ConfigError(f"item codes are no {self.table} table: leave the table's storage as the dense weights'")

    @property
    def name(self) -> str:
        """See the module's docstring."""
        parts = []
        if self.m_by_n is not None:
            parts.append(f"prune{self.m_by_n[0]}by{self.m_by_n[1]}")
        elif self.pruned:
            parts.append(f"prune{self.pruned}")
        if self.clusters:
            parts.append(f"cluster{self.clusters}")
        if self.aware:
            parts.append("qat")
        parts += ["dynamic" if self.activations == "int8" else "weightonly", f"w{ABBREVIATIONS[self.dense]}", "afp32"]
        if self.code_bytes:
            parts.append(f"pq{self.code_bytes}")
        elif self.table != self.dense:
            parts.append(f"t{ABBREVIATIONS[self.table]}")
        return "_".join(parts)


ALL_INT8 = Recipe()


def percent(m: int, n: int) -> int:
    """Of n weights' m zeros."""
    return round(100 * m / n)


def parse_recipe(name: str) -> Recipe:
    """The recipe of a name.

    Raises:
        ConfigError: if it is no recipe's.
    """
    found = _NAME.fullmatch(name)
    if found is None:
        raise ConfigError(
            f"{name!r} is no recipe: a name is such as prune50_dynamic_wi8_afp32 or dynamic_wi8_afp32_ti4"
        )
    m_by_n = (int(found["m"]), int(found["n"])) if found["m"] else None
    dense = _EXPANDED[found["dense"]]
    return Recipe(
        pruned=percent(*m_by_n) if m_by_n else int(found["pruned"] or 0),
        m_by_n=m_by_n,
        clusters=int(found["clusters"] or 0),
        aware=bool(found["aware"]),
        dense=dense,
        table=_EXPANDED[found["table"]] if found["table"] else dense,
        code_bytes=int(found["codes"] or 0),
        activations="int8" if found["kernels"] == "dynamic" else "float32",
    )
