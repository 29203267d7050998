"""A publication that was made elsewhere is taken as far as a phone would take it, whole or not at all."""

import io
import shutil
import tarfile
from collections.abc import Callable, Iterable
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import IO

import msgspec
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from contracts.errors import BundleError, GoldenError, IntegrityError, RollbackError, SignatureError
from export.adoption import FIRST_ROOT, TIMESTAMP, Adopted, adopt
from export.repository import publish, refresh
from tests.power_loss import POWER, PowerLoss

FIELDS = ["signed", "signatures", "_type"]
ANY_JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=5),
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(["signed", "signatures", "_type"]), inner)
    ),
).map(msgspec.json.encode)


def packed(repository: Path, names: Iterable[str] = ("metadata", "targets")) -> IO[bytes]:
    upload = io.BytesIO()
    with tarfile.open(fileobj=upload, mode="w") as tar:
        for name in names:
            tar.add(repository / name, name)
    upload.seek(0)
    return upload


def files(folder: Path) -> dict[str, bytes]:
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


class Publisher:
    """Somebody with keys, and the repository of a server without."""

    def __init__(self, folder: Path, write: Callable[..., Path]) -> None:
        self.folder, self._write = folder, write
        self.own, self.server = folder / "own", folder / "server"
        self.announced: list[int] = []

    def publish(self, version: int, now: datetime | None = None, **options) -> None:
        directory = self._write(self.folder / f"bundle-{version}", version, **options)
        publish(directory, self.own, self.folder / "keys", now=now)

    def trust(self) -> None:
        """Put the first root into the server's repository, by hand."""
        (self.server / FIRST_ROOT).parent.mkdir(parents=True)
        shutil.copy(self.own / FIRST_ROOT, self.server / FIRST_ROOT)

    def hand_in(self, upload: IO[bytes] | None = None) -> Adopted:
        return adopt(upload or packed(self.own), self.server, self.announced.append)

    def refused(self, error: type[BundleError], match: str, upload: IO[bytes] | None = None) -> None:
        """It is refused, and nothing is written or announced."""
        before, announced = files(self.server), list(self.announced)
        with pytest.raises(error, match=match) as caught:
            self.hand_in(upload)
        assert "\n" not in str(caught.value)
        assert (files(self.server), self.announced) == (before, announced)


@pytest.fixture
def publisher(tmp_path: Path, write_model_bundle) -> Publisher:
    publisher = Publisher(tmp_path, write_model_bundle)
    publisher.publish(1)
    publisher.trust()
    return publisher


def test_a_publication_and_the_next_arrive_as_they_were_made(publisher: Publisher) -> None:
    assert publisher.hand_in().version == 1
    assert files(publisher.server) == files(publisher.own)
    publisher.publish(2)
    second = publisher.hand_in()
    assert second.version == 2
    assert any("1-2" in name for name in second.added)
    assert files(publisher.server) == files(publisher.own)
    assert publisher.hand_in() == Adopted(2, ())  # it came already
    assert publisher.announced == [1, 2]


def test_only_what_is_new_need_be_sent(publisher: Publisher) -> None:
    publisher.hand_in()
    before = files(publisher.own).keys()
    publisher.publish(2)
    new = {*(files(publisher.own).keys() - before), TIMESTAMP}
    assert publisher.hand_in(packed(publisher.own, sorted(new))).added == tuple(sorted(new))


def test_metadata_that_was_signed_anew_is_taken_also_over_an_expired_one(publisher: Publisher) -> None:
    publisher.publish(2, now=datetime.now(UTC) - timedelta(days=8))
    shutil.rmtree(publisher.server)
    shutil.copytree(publisher.own, publisher.server)  # it was good once
    refresh(publisher.own, publisher.folder / "keys")
    done = publisher.hand_in()
    assert done.version == 2
    assert TIMESTAMP in done.added


def test_a_server_without_a_root_trusts_nobody(publisher: Publisher) -> None:
    (publisher.server / FIRST_ROOT).unlink()
    publisher.refused(SignatureError, "trusts no publisher yet")


def test_another_s_publication_is_refused(publisher: Publisher, tmp_path: Path, write_model_bundle) -> None:
    (tmp_path / "other").mkdir()
    other = Publisher(tmp_path / "other", write_model_bundle)
    other.publish(7)
    publisher.refused(SignatureError, "cannot be trusted", packed(other.own))
    publisher.hand_in()
    publisher.refused(SignatureError, "cannot be trusted", packed(other.own))


def test_what_is_older_than_what_is_published_is_refused(publisher: Publisher) -> None:
    first = packed(publisher.own)
    publisher.publish(2)
    publisher.hand_in()
    publisher.refused(RollbackError, "older than what is held", first)


def test_a_newer_signature_over_older_bundles_is_refused(publisher: Publisher) -> None:
    """The keys are the publisher's, who went on from a backup."""
    shutil.copytree(publisher.own, publisher.folder / "backup")
    publisher.publish(10)
    publisher.hand_in()
    shutil.rmtree(publisher.own)
    shutil.copytree(publisher.folder / "backup", publisher.own)
    publisher.publish(2)
    publisher.publish(3)
    publisher.refused(RollbackError, "the newest bundle is 3, 10 is published already")


def test_expired_metadata_is_refused(publisher: Publisher) -> None:
    publisher.publish(2, now=datetime.now(UTC) - timedelta(days=8))
    publisher.refused(SignatureError, "expired")


def test_a_file_that_is_damaged_or_missing_is_named(publisher: Publisher) -> None:
    (archive,) = (publisher.own / "targets" / "bundles").iterdir()
    whole = archive.read_bytes()
    archive.write_bytes(whole[:-1] + b"?")
    publisher.refused(IntegrityError, archive.name)
    archive.unlink()
    publisher.refused(IntegrityError, f"{archive.name} is named by the metadata and missing")


def test_a_bundle_that_does_not_work_here_is_refused(publisher: Publisher) -> None:
    goldens = (publisher.folder / "bundle-1" / "goldens.json").read_bytes()
    publisher.hand_in()
    publisher.publish(2, files={"goldens.json": goldens.replace(b'"scores":[', b'"scores":[9')})
    publisher.refused(GoldenError, "")


@pytest.mark.parametrize("name", ["../server.pem", "metadata/../../x", "/etc/passwd", "targets/x", "metadata/x.json"])
def test_what_is_no_file_of_a_publication_is_refused(publisher: Publisher, name: str) -> None:
    upload = io.BytesIO()
    with tarfile.open(fileobj=upload, mode="w") as tar:
        tar.addfile(tarfile.TarInfo(name), io.BytesIO())
    upload.seek(0)
    publisher.refused(BundleError, "is no file of a publication", upload)


@pytest.mark.parametrize("kind", [tarfile.SYMTYPE, tarfile.LNKTYPE, tarfile.FIFOTYPE, tarfile.GNUTYPE_SPARSE])
def test_links_and_the_like_are_refused(publisher: Publisher, kind: bytes) -> None:
    upload = io.BytesIO()
    with tarfile.open(fileobj=upload, mode="w") as tar:
        member = tarfile.TarInfo(TIMESTAMP)
        member.type, member.linkname = kind, "/etc/passwd"
        tar.addfile(member)
    upload.seek(0)
    publisher.refused(BundleError, "is no file of a publication", upload)


def test_an_upload_that_is_no_tar_or_is_cut_short_is_refused(publisher: Publisher) -> None:
    whole = packed(publisher.own).read()
    publisher.refused(BundleError, "no whole tar", io.BytesIO(b"no tar"))
    for length in range(0, len(whole) - 20_480, len(whole) // 7):  # a tar ends with zeros
        publisher.refused(BundleError, "", io.BytesIO(whole[:length]))


@settings(max_examples=200, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_whatever_is_uploaded_it_is_taken_or_refused(publisher: Publisher, data: st.DataObject) -> None:
    """A publication with some bytes changed, and metadata of any JSON: nothing but a BundleError comes of it."""
    if data.draw(st.booleans()):
        changed = bytearray(packed(publisher.own).read())
        for place in data.draw(st.lists(st.integers(0, min(len(changed), 20_000) - 1), min_size=1, max_size=3)):
            changed[place] = data.draw(st.integers(0, 255))
    else:
        written, upload = data.draw(ANY_JSON), io.BytesIO()
        with tarfile.open(fileobj=upload, mode="w") as tar:
            member = tarfile.TarInfo(data.draw(st.sampled_from([TIMESTAMP, "metadata/2.root.json"])))
            member.size = len(written)
            tar.addfile(member, io.BytesIO(written))
        changed = bytearray(upload.getvalue())
    with suppress(BundleError):
        publisher.hand_in(io.BytesIO(changed))
        shutil.rmtree(publisher.server)
        publisher.trust()


def test_cut_off_anywhere_the_repository_is_what_it_was_or_what_it_becomes(publisher: Publisher) -> None:
    publisher.hand_in()
    publisher.publish(2)
    shutil.copytree(publisher.server, publisher.folder / "before")
    steps, lost = 0, True
    while lost:
        shutil.rmtree(publisher.server)
        shutil.copytree(publisher.folder / "before", publisher.server)
        POWER.folder, POWER.left, lost = str(publisher.server), steps, False
        try:
            publisher.hand_in()
        except PowerLoss:
            lost = True
        finally:
            POWER.folder = None
        now = (publisher.server / TIMESTAMP).read_bytes()
        if now == (publisher.folder / "before" / TIMESTAMP).read_bytes():
            assert publisher.hand_in().version == 2  # again, over whatever was left
        assert files(publisher.own).items() <= files(publisher.server).items()  # all that the timestamp leads to
        steps += 1
    assert steps > 5
    assert {name: data for name, data in files(publisher.server).items() if "/." not in name} == files(publisher.own)
