"""A recipe's name says all of it."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from compression.recipe import STORAGES, Recipe, parse_recipe, percent
from contracts.errors import ConfigError

storages = st.sampled_from(STORAGES)
patterns = st.one_of(
    st.integers(0, 95).map(lambda pruned: {"pruned": pruned}),
    st.tuples(st.integers(1, 7), st.integers(8, 16)).map(lambda one: {"m_by_n": one, "pruned": percent(*one)}),
)


@given(
    pattern=patterns,
    clusters=st.one_of(st.just(0), st.integers(2, 256)),
    aware=st.booleans(),
    dense=storages,
    table=storages,
    code_bytes=st.integers(0, 64),
    activations=st.sampled_from(["int8", "float32"]),
)
def test_a_name_decodes_to_the_recipe_it_names(pattern, clusters, aware, dense, table, code_bytes, activations) -> None:
    items = {"code_bytes": code_bytes, "table": dense} if code_bytes else {"table": table}
    recipe = Recipe(**pattern, clusters=clusters, aware=aware, dense=dense, activations=activations, **items)
    assert parse_recipe(recipe.name) == recipe


@pytest.mark.parametrize(
    ("name", "recipe"),
    [
        ("prune50_dynamic_wi8_afp32", Recipe(pruned=50)),
        ("dynamic_wi8_afp32_ti4", Recipe(pruned=0, table="int4")),
        ("prune50_dynamic_wi8_afp32_pq16", Recipe(50, code_bytes=16)),
        (
            "prune2by4_cluster16_qat_weightonly_wfp16_afp32",
            Recipe(50, (2, 4), 16, True, "float16", "float16", "float32"),
        ),
    ],
)
def test_names_are_these(name: str, recipe: Recipe) -> None:
    assert recipe.name == name


@pytest.mark.parametrize(
    "name", ["", "prune50", "dynamic_wi8_afp32_", "prune999_dynamic_wi8_afp32", "dynamic_wi5_afp32"]
)
def test_what_is_no_recipe_is_refused_in_one_line(name: str) -> None:
    with pytest.raises(ConfigError) as caught:
        parse_recipe(name)
    assert "\n" not in str(caught.value)
