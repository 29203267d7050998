"""Packing is a function of the bundle's bytes; unpacking writes the listed files into its folder and nothing else."""

import io
import os
import tarfile
from pathlib import Path

import pytest

from contracts.bundle import MANIFEST
from contracts.errors import IntegrityError
from export.archive import compress, decompress, pack, unpack
from export.keys import create_keys, sign_manifest
from export.verify import SIGNATURE, verify_bundle


@pytest.fixture
def bundle(tmp_path: Path, write_bundle) -> Path:
    write_bundle(tmp_path / "bundle")
    return tmp_path / "bundle"


def rewritten(tar: bytes, change) -> bytes:
    """The tar with its members passed through `change(list of (TarInfo, bytes))`."""
    with tarfile.open(fileobj=io.BytesIO(tar)) as archive:
        members = [(member, archive.extractfile(member).read()) for member in archive]  # type: ignore[union-attr]
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as archive:
        for member, data in change(members):
            archive.addfile(member, io.BytesIO(data) if data else None)
    return buffer.getvalue()


def test_pack_and_unpack_are_inverse_and_the_tar_of_the_copy_is_the_tar(bundle: Path, tmp_path: Path) -> None:
    create_keys(tmp_path / "keys")
    sign_manifest(bundle, tmp_path / "keys")
    tar = pack(bundle)
    manifest = unpack(tar, tmp_path / "copy")
    assert verify_bundle(tmp_path / "copy") == manifest
    assert (tmp_path / "copy" / SIGNATURE).read_bytes() == (bundle / SIGNATURE).read_bytes()
    assert pack(tmp_path / "copy") == tar


def test_times_modes_and_unlisted_files_leave_no_trace(bundle: Path) -> None:
    tar = pack(bundle)
    for path in bundle.rglob("*"):
        os.utime(path, (1, 1))
        path.chmod(0o700)
    (bundle / "unlisted").write_bytes(b"private")
    assert pack(bundle) == tar
    with tarfile.open(fileobj=io.BytesIO(tar)) as archive:
        members = archive.getmembers()
    assert {(m.mtime, m.uid, m.gid, m.uname, m.gname, m.mode) for m in members} == {(0, 0, 0, "", "", 0o644)}
    assert members[0].name == MANIFEST
    assert [m.name for m in members[1:]] == sorted(m.name for m in members[1:])


def test_compression_is_deterministic_and_bounded(bundle: Path) -> None:
    tar = pack(bundle)
    data = compress(tar)
    assert compress(tar) == data
    assert decompress(data, len(tar)) == tar
    for wrong in (len(tar) - 1, len(tar) + 1):
        with pytest.raises(IntegrityError, match="unpacks to"):
            decompress(data, wrong)
    for damaged in (b"", data[:-1], data[:40] + bytes([data[40] ^ 1]) + data[41:]):
        with pytest.raises(IntegrityError):
            decompress(damaged, len(tar))


def link(name: str, kind: bytes, size: int = 0) -> tuple[tarfile.TarInfo, bytes]:
    member = tarfile.TarInfo(name)
    member.type, member.linkname, member.size = kind, "/etc/passwd", size  # the size that the manifest lists
    return member, b""


def renamed(member: tarfile.TarInfo, name: str) -> tarfile.TarInfo:
    copy = tarfile.TarInfo(name)
    copy.size = member.size
    return copy


HOSTILE = {
    "escapes upwards": lambda members: [*members, (tarfile.TarInfo("../escaped"), b"")],
    "absolute path": lambda members: [*members, (tarfile.TarInfo("/tmp/escaped"), b"")],
    "unlisted file": lambda members: [*members, (tarfile.TarInfo("unlisted"), b"")],
    "symbolic link": lambda members: [*members[:-1], link(members[-1][0].name, tarfile.SYMTYPE, members[-1][0].size)],
    "hard link": lambda members: [*members[:-1], link(members[-1][0].name, tarfile.LNKTYPE, members[-1][0].size)],
    "device": lambda members: [*members[:-1], link(members[-1][0].name, tarfile.CHRTYPE, members[-1][0].size)],
    "folder": lambda members: [*members, link("folder", tarfile.DIRTYPE)],
    "same file twice": lambda members: [*members, members[-1]],
    "larger than listed": lambda members: [*members[:-1], (renamed(members[0][0], members[-1][0].name), members[0][1])],
    "a file is missing": lambda members: members[:-1],
    "manifest not first": lambda members: [*members[1:], members[0]],
    "no manifest": lambda members: members[1:],
    "nothing": lambda members: [],
}


@pytest.mark.parametrize("change", HOSTILE.values(), ids=HOSTILE.keys())
def test_hostile_archives_are_refused_and_nothing_lies_outside(bundle: Path, tmp_path: Path, change) -> None:
    (tmp_path / "unpacked").mkdir()
    before = {path for path in tmp_path.rglob("*") if "unpacked" not in path.parts}
    with pytest.raises(IntegrityError, match="archive"):
        unpack(rewritten(pack(bundle), change), tmp_path / "unpacked" / "here")
    assert {path for path in tmp_path.rglob("*") if "unpacked" not in path.parts} == before
    written = [path for path in (tmp_path / "unpacked").rglob("*") if path.is_file()]
    assert all(path.is_relative_to(tmp_path / "unpacked" / "here") and not path.is_symlink() for path in written)


@pytest.mark.parametrize("cut", [0, 100, 512, 1500, -11_000])
def test_a_cut_archive_is_refused(bundle: Path, tmp_path: Path, cut: int) -> None:
    with pytest.raises(IntegrityError):
        unpack(pack(bundle)[:cut], tmp_path / "copy")
