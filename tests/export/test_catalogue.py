"""The catalogue as the phone reads it, and what it refuses to say."""

import re
import sqlite3
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from contracts.errors import BundleError
from export.catalogue import EVERYONE, CatalogueContents, CatalogueItem, _wiped, write_catalogue
from export.inference.catalogue import Catalogue

names = st.text(st.characters(exclude_categories=("Cs",), exclude_characters="\0"), min_size=1)
ids = st.lists(names, min_size=1, max_size=20, unique=True)


@st.composite
def catalogues(draw: st.DrawFn) -> CatalogueContents:
    items = [
        CatalogueItem(
            item_id=item_id,
            category=draw(st.none() | st.sampled_from(["a", "b"])),
            price_minor=draw(st.none() | st.integers(0, 10**9)),
        )
        for item_id in draw(ids)
    ]
    ranking = st.permutations(range(1, len(items) + 1)).flatmap(
        lambda order: st.integers(0, len(order)).map(lambda count: order[:count])
    )
    segments = draw(st.dictionaries(st.text(st.characters(codec="ascii")), ranking, max_size=3))
    return CatalogueContents(items, segments | {EVERYONE: draw(ranking)}, "EUR")


@given(contents=catalogues())
def test_the_phone_reads_what_was_written(contents: CatalogueContents, tmp_path_factory) -> None:
    path = tmp_path_factory.mktemp("catalogue") / "catalogue.sqlite"
    write_catalogue(path, contents)
    read = Catalogue(path)
    assert len(read) == len(contents.items)
    assert read.currency == "EUR"
    for index, item in enumerate(contents.items, start=1):
        assert (read.index_of(item.item_id), read.item_id(index)) == (index, item.item_id)
    for segment, expected in contents.popularity.items():
        if expected:
            assert read.popular(segment, 100) == tuple(expected)


def test_memory_left_over_in_unused_space_does_not_reach_the_file(tmp_path: Path) -> None:
    contents = CatalogueContents(items(*(f"item-{number}" for number in range(2_000))), {EVERYONE: [1]}, "USD")
    write_catalogue(tmp_path / "catalogue", contents)
    data = (tmp_path / "catalogue").read_bytes()
    unused = [match.start() + 32 for match in re.finditer(rb"\0{64,}", data)]  # no row holds that many zeros
    assert len(unused) > 3
    dirty = bytearray(data)
    for place in unused[1:]:  # the first is in the file's header
        dirty[place] = 0xAA
    assert _wiped(bytes(dirty)) == data
    assert sqlite3.connect(tmp_path / "catalogue").execute("PRAGMA integrity_check").fetchone() == ("ok",)


def items(*names: str) -> list[CatalogueItem]:
    return [CatalogueItem(item_id=name) for name in names]


def test_the_order_of_segments_changes_neither_bytes_nor_version(tmp_path: Path) -> None:
    one = CatalogueContents(items("x", "y"), {EVERYONE: [1, 2], "a": [2], "b": [1]}, "USD")
    two = CatalogueContents(items("x", "y"), {"b": [1], "a": [2], EVERYONE: [1, 2]}, "USD")
    write_catalogue(tmp_path / "one", one)
    write_catalogue(tmp_path / "two", two)
    assert (tmp_path / "one").read_bytes() == (tmp_path / "two").read_bytes()
    assert one.version == two.version
    assert one.version != CatalogueContents(items("x", "z"), one.popularity, "USD").version
    assert one.version != CatalogueContents(one.items, {EVERYONE: [2, 1]}, "USD").version


@pytest.mark.parametrize(
    ("names", "popularity", "message"),
    [
        (("x", "y"), {"a": [1]}, "no popularity over everyone"),
        (("x", "x"), {EVERYONE: [1]}, "names an item twice"),
        (("x", "y"), {EVERYONE: [1, 3]}, "none of 1 to 2"),
        (("x", "y"), {EVERYONE: [0]}, "none of 1 to 2"),
        (("x", "y"), {EVERYONE: [1], "a": [2, 2]}, "segment 'a' names an item twice"),
    ],
)
def test_what_cannot_be_is_refused(names, popularity, message) -> None:
    with pytest.raises(BundleError, match=message):
        CatalogueContents(items(*names), popularity, "USD")
