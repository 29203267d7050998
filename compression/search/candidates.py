"""Candidates, cheap ones first: what needs no training beyond one distilled model, then what is trained on a little."""

from collections.abc import Mapping
from itertools import product

from compression.recipe import Activations, Recipe, Storage

STORED: tuple[tuple[Storage, Storage, Activations], ...] = (  # dense weights, item table, activations
    ("int8", "int8", "int8"),
    ("int8", "int4", "int8"),
    ("int8", "int8", "float32"),
    ("float16", "float16", "float32"),
    ("int4", "int4", "int8"),
    ("int4", "int8", "int8"),
    ("float32", "float32", "float32"),
)
FEW = 2  # of `STORED`, for a build that has little time
SPACE: dict[str, tuple[int | str, ...]] = {  # of recipes that are trained on
    "pruning": ("50", "70", "90", "2by4"),
    "clusters": (0, 16, 32),
    "dense": ("int4", "int8"),
    "table": ("int4", "int8"),
}


def untrained(pruned: int, few: bool = False) -> list[Recipe]:
    """Recipes for a distilled model whose dense weights are pruned to a percentage already."""
    stored = [
        Recipe(pruned=pruned, dense=dense, table=table, activations=activations)
        for dense, table, activations in STORED[: FEW if few else None]
    ]
    return stored if few else [*stored, Recipe(pruned=pruned, clusters=16), Recipe(pruned=pruned, clusters=32)]


def trained(choice: Mapping[str, int | str]) -> Recipe:
    """The recipe of one point of `SPACE`."""
    pruning = str(choice["pruning"])
    m_by_n = (2, 4) if pruning == "2by4" else None
    return Recipe(
        pruned=50 if m_by_n else int(pruning),
        m_by_n=m_by_n,
        clusters=int(str(choice["clusters"])),
        aware=True,
        dense=choice["dense"],  # type: ignore[arg-type]  # one of SPACE's
        table=choice["table"],  # type: ignore[arg-type]
    )


def whole_space() -> list[dict[str, int | str]]:
    """Every point of `SPACE`."""
    return [dict(zip(SPACE, point, strict=True)) for point in product(*SPACE.values())]
