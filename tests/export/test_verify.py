"""A bundle directory is accepted only if it is byte for byte what its manifest describes."""

from pathlib import Path

import msgspec
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from contracts import codec
from contracts.bundle import CORE_ML, MANIFEST, REQUIRED_FILES, FileEntry
from contracts.errors import BundleError, ConfigError, IntegrityError, SignatureError
from export.keys import PUBLIC_KEY, create_keys, load_public_key, sign_manifest, signer_of
from export.verify import SIGNATURE, verify_bundle, verify_signature


@pytest.fixture
def bundle(tmp_path: Path, write_bundle) -> Path:
    write_bundle(tmp_path / "bundle")
    return tmp_path / "bundle"


def test_a_whole_bundle_is_accepted(bundle: Path) -> None:
    assert verify_bundle(bundle).bundle_version == 1


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=60, deadline=None)
@given(data=st.data())
def test_one_flipped_bit_anywhere_is_found_and_its_file_named(bundle: Path, data: st.DataObject) -> None:
    name = data.draw(st.sampled_from(sorted(verify_bundle(bundle).files)))
    original = (bundle / name).read_bytes()
    bit = data.draw(st.integers(0, 8 * len(original) - 1))
    flipped = bytearray(original)
    flipped[bit // 8] ^= 1 << bit % 8
    (bundle / name).write_bytes(flipped)
    try:
        with pytest.raises(IntegrityError, match=name):
            verify_bundle(bundle)
    finally:
        (bundle / name).write_bytes(original)


@pytest.mark.parametrize("name", [*REQUIRED_FILES, f"{CORE_ML}/Data/model.mlmodel"])
def test_a_missing_or_shortened_file_is_named(bundle: Path, name: str) -> None:
    (bundle / name).write_bytes((bundle / name).read_bytes()[:-1])
    with pytest.raises(IntegrityError, match=f"{name} has .* bytes"):
        verify_bundle(bundle)
    (bundle / name).unlink()
    with pytest.raises(IntegrityError, match=f"{name} is missing"):
        verify_bundle(bundle)


@pytest.mark.parametrize("name", ["extra.bin", f"{CORE_ML}/Data/slipped-in.bin"])
def test_an_extra_file_is_named(bundle: Path, name: str) -> None:
    (bundle / name).write_bytes(b"x")
    with pytest.raises(IntegrityError, match=f"{name} is not listed"):
        verify_bundle(bundle)


def test_a_link_is_refused_even_where_its_bytes_are_right(bundle: Path, tmp_path: Path) -> None:
    (bundle / "report.html").rename(tmp_path / "elsewhere")
    (bundle / "report.html").symlink_to(tmp_path / "elsewhere")
    with pytest.raises(IntegrityError, match=r"report\.html is no plain file"):
        verify_bundle(bundle)


@pytest.mark.parametrize("name", ["../outside", "/etc/hostname", "a/../b", "./a", "a//b", "", MANIFEST, SIGNATURE])
def test_a_manifest_that_names_files_outside_itself_is_refused(bundle: Path, name: str) -> None:
    manifest = verify_bundle(bundle)
    files = manifest.files | {name: FileEntry(0, "0" * 64)}
    (bundle / MANIFEST).write_bytes(codec.encode(msgspec.structs.replace(manifest, files=files)))
    with pytest.raises(IntegrityError, match=MANIFEST):
        verify_bundle(bundle)


def test_a_manifest_without_a_required_file_is_refused(bundle: Path) -> None:
    manifest = verify_bundle(bundle)
    for lacking in (REQUIRED_FILES[0], CORE_ML):
        files = {name: entry for name, entry in manifest.files.items() if not name.startswith(lacking)}
        (bundle / MANIFEST).write_bytes(codec.encode(msgspec.structs.replace(manifest, files=files)))
        with pytest.raises(IntegrityError, match=f"list.*{lacking}"):
            verify_bundle(bundle)


def test_a_newer_format_is_refused_by_its_number(bundle: Path) -> None:
    (bundle / MANIFEST).write_bytes(b'{"format_version": 7, "all else": "may differ"}')
    with pytest.raises(BundleError, match="format version 7"):
        verify_bundle(bundle)


@pytest.mark.parametrize("data", [b"", b"{", b"[]", b'{"format_version": 1}', b"\xff\xfe"])
def test_a_damaged_manifest_is_refused(bundle: Path, data: bytes) -> None:
    (bundle / MANIFEST).write_bytes(data)
    with pytest.raises(IntegrityError, match=MANIFEST):
        verify_bundle(bundle)


def test_a_folder_without_manifest_is_no_bundle(tmp_path: Path) -> None:
    with pytest.raises(BundleError, match=f"holds no {MANIFEST}"):
        verify_bundle(tmp_path)


def test_a_signature_holds_for_its_key_and_its_manifest_only(bundle: Path, tmp_path: Path) -> None:
    create_keys(tmp_path / "keys")
    create_keys(tmp_path / "others")
    own, other = (load_public_key(tmp_path / keys / PUBLIC_KEY) for keys in ("keys", "others"))
    with pytest.raises(SignatureError, match="unsigned"):
        verify_signature(bundle, own)
    sign_manifest(bundle, tmp_path / "keys")
    verify_signature(bundle, own)
    verify_bundle(bundle)  # the signature is no extra file
    with pytest.raises(SignatureError, match="does not fit"):
        verify_signature(bundle, other)
    (bundle / MANIFEST).write_bytes((bundle / MANIFEST).read_bytes() + b" ")
    with pytest.raises(SignatureError, match="does not fit"):
        verify_signature(bundle, own)


def test_private_keys_are_for_their_owner_only(tmp_path: Path) -> None:
    create_keys(tmp_path / "keys")
    privates = sorted((tmp_path / "keys").glob("*.pem"))
    assert [path.stem for path in privates] == ["root", "snapshot", "targets", "timestamp"]
    assert {path.stat().st_mode & 0o777 for path in privates} == {0o600}
    before = [path.read_bytes() for path in privates]
    create_keys(tmp_path / "keys")
    assert [path.read_bytes() for path in privates] == before
    privates[0].chmod(0o640)
    with pytest.raises(ConfigError, match="can be read by others"):
        signer_of(tmp_path / "keys", privates[0].stem)
