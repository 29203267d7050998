"""Pseudonyms depend on the key, agree under one key, and say nothing without it."""

import hashlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from training.pseudonym import KEY_BYTES, PSEUDONYM_BYTES, key_from_seed, pseudonyms

keys = st.binary(min_size=KEY_BYTES, max_size=KEY_BYTES)


@given(st.lists(st.text(), unique=True), keys)
def test_same_id_same_pseudonym_other_id_another(ids: list[str], key: bytes) -> None:
    names = pseudonyms(ids, key)
    assert len(set(names)) == len(ids)
    assert names == [pseudonyms([each], key)[0] for each in ids]
    assert all(len(bytes.fromhex(name)) == PSEUDONYM_BYTES for name in names)


@given(st.text(), keys, keys)
def test_another_key_gives_another_pseudonym(person: str, key: bytes, other: bytes) -> None:
    assert (pseudonyms([person], key) == pseudonyms([person], other)) == (key == other)


def test_it_is_blake2b_with_a_key() -> None:
    key = bytes(range(KEY_BYTES))
    assert pseudonyms(["900"], key) == [hashlib.blake2b(b"900", key=key, digest_size=16).hexdigest()]


def test_a_short_key_is_refused() -> None:
    with pytest.raises(ValueError, match="has 5 bytes, it must have 32"):
        pseudonyms(["900"], b"short")


def test_keys_of_seeds_are_keys() -> None:
    assert len({key_from_seed(seed) for seed in range(50)}) == 50
    assert len(key_from_seed(7)) == KEY_BYTES
