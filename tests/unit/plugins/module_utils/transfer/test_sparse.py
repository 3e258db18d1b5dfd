# Copyright (c) 2026 anyvirt contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Sparse files and compressed ones: the same data at the other end, with its holes, and nothing half done."""

from __future__ import annotations

import bz2
import fcntl
import gzip
import hashlib
import lzma
import os
import random
import shutil
import subprocess
import sys
import threading
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from types import ModuleType
from unittest import mock

import pytest

from ansible_collections.anyvirt.compute.plugins.module_utils.errors import (
    ChecksumMismatch,
    InsufficientCapacity,
    LibraryMissing,
    TransferError,
    UnsafeImage,
)
from ansible_collections.anyvirt.compute.plugins.module_utils.transfer import sparse, zstd
from ansible_collections.anyvirt.compute.plugins.module_utils.transfer.content import PIECE_BYTES, Hole, Segment
from ansible_collections.anyvirt.compute.plugins.module_utils.transfer.fetch import FetchOptions, open_content
from ansible_collections.anyvirt.compute.plugins.module_utils.transfer.progress import Progress, Report
from ansible_collections.anyvirt.compute.plugins.module_utils.transfer.sparse import (
    BLOCK_BYTES,
    file_segments,
    length_of,
    without_zeros,
    write_segments,
)

MIB = 1 << 20


def patchwork(seed: int, parts: int = 40) -> bytes:
    """Data and zeros of many lengths, some of which fit no block."""
    chance = random.Random(seed)
    lengths = (1, 511, 4096, BLOCK_BYTES - 1, BLOCK_BYTES, BLOCK_BYTES + 1, PIECE_BYTES, 3 * PIECE_BYTES + 5)
    return b"".join(
        (bytes if chance.random() < 0.5 else chance.randbytes)(chance.choice(lengths)) for _part in range(parts)
    )


def joined(segments: Iterable[Segment]) -> bytes:
    return b"".join(bytes(part.length) if isinstance(part, Hole) else part for part in segments)


def in_pieces(data: bytes) -> Iterator[bytes]:
    return (data[at : at + PIECE_BYTES] for at in range(0, len(data), PIECE_BYTES))


# -- sparse files ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("seed", range(8))
def test_the_same_data_after_the_round_trip(tmp_path: Path, seed: int) -> None:
    data = patchwork(seed)
    copies = [str(tmp_path / name) for name in ("one", "two")]
    assert write_segments(copies[0], without_zeros(in_pieces(data))) == len(data)
    assert write_segments(copies[1], file_segments(copies[0])) == len(data)
    for copy in copies:
        assert hashlib.sha256(Path(copy).read_bytes()).digest() == hashlib.sha256(data).digest()


def test_segments_are_as_promised() -> None:
    for seed in range(8):
        for segment in without_zeros(in_pieces(patchwork(seed))):
            assert length_of(segment) > 0
            assert isinstance(segment, Hole) or len(segment) <= PIECE_BYTES


def test_holes_are_not_sent_and_take_no_room(tmp_path: Path) -> None:
    source = tmp_path / "source"
    with source.open("wb") as file:
        file.truncate(64 * MIB)
        for at in (0, 20 * MIB, 63 * MIB):
            file.seek(at)
            file.write(b"x" * MIB)
    segments = list(file_segments(str(source)))
    assert sum(len(part) for part in segments if isinstance(part, bytes)) == 3 * MIB
    assert [part.length for part in segments if isinstance(part, Hole)] == [19 * MIB, 42 * MIB]
    copy = tmp_path / "copy"
    write_segments(str(copy), segments)
    assert copy.stat().st_size == 64 * MIB
    assert copy.stat().st_blocks * 512 < 4 * MIB


@pytest.mark.parametrize("size", [0, 1, BLOCK_BYTES, 5 * MIB + 1])
def test_nothing_but_a_hole(tmp_path: Path, size: int) -> None:
    source = tmp_path / "source"
    with source.open("wb") as file:
        file.truncate(size)
    assert list(file_segments(str(source))) == ([Hole(size)] if size else [])
    assert list(without_zeros(in_pieces(bytes(size)))) == ([Hole(size)] if size else [])
    assert write_segments(str(tmp_path / "copy"), file_segments(str(source))) == size


def test_file_systems_that_know_no_holes(tmp_path: Path) -> None:
    data = patchwork(1)
    source = tmp_path / "source"
    source.write_bytes(data)
    with mock.patch.object(sparse, "_SEEK_DATA", None):
        assert joined(file_segments(str(source))) == data


def test_what_is_no_file_is_not_waited_for(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "fifo")
    for name in ("fifo", ""):
        with pytest.raises(TransferError, match="neither a file nor"):
            list(file_segments(str(tmp_path / name)))
    with pytest.raises(TransferError, match="No such file"):
        list(file_segments(str(tmp_path / "missing")))


def test_a_file_that_becomes_shorter(tmp_path: Path) -> None:
    source = tmp_path / "source"
    source.write_bytes(b"x" * 3 * MIB)
    segments = file_segments(str(source))
    next(segments)
    os.truncate(source, MIB)
    with pytest.raises(TransferError, match="became shorter"):
        list(segments)


# -- written at once or not at all ----------------------------------------------------------------------------------


def failing(error: BaseException) -> Iterator[Segment]:
    yield b"new"
    raise error


def test_a_failure_leaves_what_was_there(tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.write_text("old")
    path.chmod(0o640)
    for error in (TransferError("broken"), KeyboardInterrupt()):
        with pytest.raises(type(error)):
            write_segments(str(path), failing(error))
        assert path.read_text() == "old"
        assert os.listdir(tmp_path) == ["file"]
    write_segments(str(path), iter([b"new"]))
    assert path.read_text() == "new"
    assert path.stat().st_mode & 0o777 == 0o640
    write_segments(str(tmp_path / "other"), iter([b"new"]))
    assert (tmp_path / "other").stat().st_mode & 0o777 == 0o600


def test_what_a_killed_run_left_is_used(tmp_path: Path) -> None:
    (tmp_path / ".file.part").write_bytes(b"leftover" * 1000)
    write_segments(str(tmp_path / "file"), iter([b"new"]))
    assert (tmp_path / "file").read_bytes() == b"new"
    assert os.listdir(tmp_path) == ["file"]


def test_two_do_not_write_the_same_file(tmp_path: Path) -> None:
    path = str(tmp_path / "file")

    def meanwhile() -> Iterator[Segment]:
        with pytest.raises(TransferError, match="another process is writing"):
            write_segments(path, iter([b"second"]))
        yield b"first"

    write_segments(path, meanwhile())
    assert Path(path).read_bytes() == b"first"


def test_many_at_once_leave_one_whole_file(tmp_path: Path) -> None:
    path = str(tmp_path / "file")
    won = []

    def write(number: int) -> None:
        try:
            write_segments(path, iter([bytes([number]) * 50000] * 4))
            won.append(number)
        except TransferError as error:
            assert "another process" in str(error)

    threads = [threading.Thread(target=write, args=(number,)) for number in range(1, 9)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    data = Path(path).read_bytes()
    assert won
    assert data == bytes([data[0]]) * 200000
    assert os.listdir(tmp_path) == ["file"]


def test_what_lies_in_the_way_is_not_followed(tmp_path: Path) -> None:
    victim = tmp_path / "victim"
    victim.write_text("precious")
    (tmp_path / ".file.part").symlink_to(victim)
    with pytest.raises(TransferError):
        write_segments(str(tmp_path / "file"), iter([b"new"]))
    (tmp_path / ".file.part").unlink()
    os.link(victim, tmp_path / ".file.part")
    with pytest.raises(TransferError, match="in the way"):
        write_segments(str(tmp_path / "file"), iter([b"new"]))
    assert victim.read_text() == "precious"


def test_no_room(tmp_path: Path) -> None:
    with mock.patch("os.pwrite", side_effect=OSError(28, "No space left on device")):
        with pytest.raises(InsufficientCapacity, match="no room for"):
            write_segments(str(tmp_path / "file"), iter([b"new"]))
    assert os.listdir(tmp_path) == []


def test_no_folder(tmp_path: Path) -> None:
    with pytest.raises(TransferError, match="No such file"):
        write_segments(str(tmp_path / "nowhere" / "file"), iter([b"new"]))


# -- compressed -----------------------------------------------------------------------------------------------------


def zst(data: bytes) -> bytes:
    return subprocess.run(["zstd", "-q", "-c", "-1"], input=data, capture_output=True, check=True).stdout


COMPRESSORS: dict[str, Callable[[bytes], bytes]] = {
    "gz": lambda data: gzip.compress(data, 1),
    "xz": lambda data: lzma.compress(data, preset=0),
    "bz2": lambda data: bz2.compress(data, 1),
    "zst": zst,
}
PADDING = {"gz": bytes(512), "xz": bytes(8), "bz2": b"", "zst": b""}
DATA = patchwork(5, 8)


@pytest.fixture(params=list(COMPRESSORS))
def kind(request: pytest.FixtureRequest) -> str:
    if request.param == "zst" and shutil.which("zstd") is None:
        pytest.skip("the program zstd makes these")
    return str(request.param)


def unpack(folder: Path, packed: bytes, **options: object) -> bytes:
    path = folder / "packed"
    path.write_bytes(packed)
    with open_content(FetchOptions(path=str(path), **options)) as content:
        return joined(content.segments())


def test_compressed_in_one_or_many_members(tmp_path: Path, kind: str) -> None:
    pack = COMPRESSORS[kind]
    assert unpack(tmp_path, pack(DATA)) == DATA
    assert unpack(tmp_path, pack(DATA[:70000]) + pack(b"") + pack(DATA[70000:]) + PADDING[kind]) == DATA


def test_compressed_data_that_is_cut_short(tmp_path: Path, kind: str) -> None:
    packed = COMPRESSORS[kind](DATA)
    for length in (len(packed) - 1, len(packed) - 9, len(packed) // 2, 40):
        with pytest.raises(TransferError, match=r"ends in the middle|damaged"):
            unpack(tmp_path, packed[:length])


def test_compressed_data_that_is_damaged(tmp_path: Path, kind: str) -> None:
    packed = bytearray(COMPRESSORS[kind](DATA))
    packed[len(packed) // 2] ^= 0xFF
    with pytest.raises(TransferError):
        unpack(tmp_path, bytes(packed))
    with pytest.raises(TransferError, match="damaged"):
        unpack(tmp_path, COMPRESSORS[kind](DATA) + b"rubbish" * 10)


def test_a_bomb_goes_off_in_holes_and_stops_at_the_limit(tmp_path: Path, kind: str) -> None:
    packed = COMPRESSORS[kind](bytes(100 * MIB))
    assert len(packed) < 2 * MIB
    with pytest.raises(UnsafeImage, match="more in it than the 30M"):
        unpack(tmp_path, packed, max_size_bytes=30 * MIB)
    path = tmp_path / "packed"
    with open_content(FetchOptions(path=str(path))) as content:
        assert list(content.segments()) == [Hole(100 * MIB)]


def test_the_checksum_is_that_of_what_is_published(tmp_path: Path, kind: str) -> None:
    packed = COMPRESSORS[kind](DATA)
    checksum = f"sha512:{hashlib.sha512(packed).hexdigest()}"
    assert unpack(tmp_path, packed, checksum=checksum) == DATA
    with pytest.raises(ChecksumMismatch):
        unpack(tmp_path, packed, checksum=f"sha512:{hashlib.sha512(DATA).hexdigest()}")


def test_not_unpacked_when_not_wanted(tmp_path: Path, kind: str) -> None:
    packed = COMPRESSORS[kind](DATA)
    assert unpack(tmp_path, packed, decompress=False) == packed


def test_an_unsafe_image_in_a_compressed_file(tmp_path: Path, kind: str) -> None:
    with pytest.raises(UnsafeImage, match="VMDK"):
        unpack(tmp_path, COMPRESSORS[kind](b"KDMV" + bytes(5000)))


def test_zstd_of_the_standard_library(monkeypatch: pytest.MonkeyPatch) -> None:
    """The module of Python 3.14 has the ways of lzma, which stands in for it here."""
    library = ModuleType("compression.zstd")
    library.ZstdError = lzma.LZMAError
    library.DecompressionParameter = mock.Mock(window_log_max="window_log_max")
    limits = []

    def decompressor(options: dict[str, int]) -> lzma.LZMADecompressor:
        limits.append(options)
        return lzma.LZMADecompressor()

    library.ZstdDecompressor = decompressor
    package = ModuleType("compression")
    package.zstd = library
    monkeypatch.setitem(sys.modules, "compression", package)
    monkeypatch.setitem(sys.modules, "compression.zstd", library)
    packed = lzma.compress(DATA[:MIB], preset=0) + lzma.compress(DATA[MIB:], preset=0)
    assert joined(zstd.unpack(iter([packed[:1000], packed[1000:]]), "it")) == DATA
    assert limits == [{"window_log_max": 27}] * 2
    with pytest.raises(TransferError, match="ends in the middle"):
        joined(zstd.unpack(iter([packed[:-5]]), "it"))
    with pytest.raises(TransferError, match="damaged"):
        joined(zstd.unpack(iter([b"rubbish" * 10]), "it"))


def test_zstd_that_nothing_here_can_read(tmp_path: Path) -> None:
    if sys.version_info >= (3, 14):
        pytest.skip("this Python can")
    with mock.patch.dict(sys.modules, {"zstandard": None}), mock.patch.object(zstd, "which", return_value=None):
        with pytest.raises(LibraryMissing, match="pip install zstandard"):
            unpack(tmp_path, b"\x28\xb5\x2f\xfd" + bytes(20))


# -- checked --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("algorithm", ["md5", "sha1", "sha256", "sha512"])
def test_checksums_of_sparse_files(tmp_path: Path, algorithm: str) -> None:
    path = tmp_path / "file"
    write_segments(str(path), iter([b"x" * 1000, Hole(5 * MIB + 3), b"y"]))
    data = path.read_bytes()
    options = FetchOptions(
        path=str(path), checksum=f"{algorithm}:{hashlib.new(algorithm, data).hexdigest()}", with_sha256=True
    )
    with open_content(options) as content:
        assert content.length == len(data)
        assert content.sha256 is None
        assert joined(content.segments()) == data
        assert content.sha256 == hashlib.sha256(data).hexdigest()
    path.write_bytes(data + b"z")
    with open_content(options) as content, pytest.raises(ChecksumMismatch, match=algorithm):
        list(content.segments())


def test_no_thread_stays_when_nobody_reads_on(tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.write_bytes(os.urandom(8 * MIB))
    before = threading.active_count()
    with open_content(FetchOptions(path=str(path), checksum="md5:" + "0" * 32, with_sha256=True)) as content:
        next(content.segments())
    assert threading.active_count() == before


def test_what_is_looked_at_is_what_is_stored(tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.write_bytes(b"harmless" + bytes(4 * MIB))
    with open_content(FetchOptions(path=str(path))) as content:
        with path.open("r+b") as file:
            file.write(b"KDMV names a file of the host")
        assert joined(content.segments()).startswith(b"harmless\0")


@pytest.mark.parametrize("kind", ["gz", "zst"], indirect=True)
def test_nothing_works_on_when_an_image_is_refused_or_nobody_reads_on(tmp_path: Path, kind: str) -> None:
    pack, before = COMPRESSORS[kind], threading.active_count()
    path = tmp_path / "packed"
    path.write_bytes(pack(b"KDMV" + os.urandom(3 * MIB)))
    with pytest.raises(UnsafeImage) as refused, open_content(FetchOptions(path=str(path))):
        pass
    assert threading.active_count() == before
    path.write_bytes(pack(os.urandom(3 * MIB)))
    with pytest.raises(KeyboardInterrupt) as broken:
        read_a_little(str(path))
    assert threading.active_count() == before
    assert None not in [refused.tb, broken.tb]  # though errors hold on to what failed


def read_a_little(path: str) -> None:
    with open_content(FetchOptions(path=path)) as content:
        for _segment in content.segments():
            raise KeyboardInterrupt


def test_progress_of_what_is_unpacked(tmp_path: Path) -> None:
    packed = gzip.compress(os.urandom(3 * MIB))
    path = tmp_path / "packed"
    path.write_bytes(packed)
    reports: list[Report] = []
    with open_content(FetchOptions(path=str(path)), Progress(reports.append)) as content:
        list(content.segments())
    assert {report.total for report in reports} == {len(packed)}
    assert max(report.done for report in reports) == len(packed)
    assert reports[-1].ended


def test_the_lock_is_gone_with_its_holder(tmp_path: Path) -> None:
    part = tmp_path / ".file.part"
    holder = os.open(part, os.O_RDWR | os.O_CREAT, 0o600)
    fcntl.flock(holder, fcntl.LOCK_EX)
    with pytest.raises(TransferError, match="another process"):
        write_segments(str(tmp_path / "file"), iter([b"new"]))
    os.close(holder)
    write_segments(str(tmp_path / "file"), iter([b"new"]))
