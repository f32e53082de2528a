"""Small pictures decoded once: all of a data set's in one file, from which a row is read in microseconds.

    runs/cache/<checksum>.npy     uint8 (n, 3, size, size), or (n, 1, size, size) without colour

The file is named by a checksum of what the pictures are decoded from, in order. A picture changed, added or put elsewhere
in the order makes another file; a data set moved to another folder finds its own. It is written under another name first, so that
whatever stops a run leaves a whole file or none; one that is cut short is made again.
"""
import contextlib
import dataclasses
import io
import math
import os
import time
import uuid
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from functools import lru_cache
from hashlib import blake2b
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

from refnet.data.augmentation import without_colour
from refnet.data.samples import Collection, DataError, Sample
from refnet.pictures import PictureError

VERSION = 2                    # of what is kept: a change in how pictures are decoded makes all anew
THREADS = 4                    # at most: Pillow decodes beside others, but a picture of 48 px is mostly Python, which does not
TOGETHER = 64                  # pictures that a thread takes at a time
MANY = 5000                    # pictures whose decoding is announced


class Row(NamedTuple):
    """One picture of a packed file: a clip of one frame."""
    path: str
    k: int

    in_memory = True                                                # to be read without other processes reading ahead

    def __len__(self) -> int:
        return 1

    def read(self, indices: list[int], size: int | None = None) -> Tensor:
        """→   (n, 3, size, size)   uint8, at the size that was packed; grey three times where it was packed grey"""
        rows = _opened(self.path)                                   # (N, 1 or 3, S, S)
        if size is not None and size != rows.shape[-1]:
            raise DataError(f"the picture is packed at {rows.shape[-1]} px, asked for at {size}; pack it at {size}")
        if not indices or any(t != 0 for t in indices):
            raise DataError(f"{self.path}, row {self.k}: frames {list(indices)} asked for; it is one picture, frame 0")
        row = torch.from_numpy(np.array(rows[self.k]))              # (1 or 3, S, S)
        return row.expand(len(indices), 3, -1, -1).contiguous()     # (n, 3, S, S)


def packed(found: Collection, size: int, folder: str, grey: bool = False, most: int = 4 * 2 ** 30,
           say: Callable[[str], None] = print) -> Collection:
    """A data set of single pictures, decoded now or before; the same samples, read from one file.

    size     the side of the square that each picture is decoded to
    folder   where the file is kept; "" keeps none
    grey     without colour, in a third of the room
    most     bytes; what would be larger is not kept
    say      told before a decoding that takes long

    Where nothing is kept, and where a clip has more than one frame, the samples stay as they are, and a line in `found` says so;
    clips that are in memory always do. A clip says by raw() → bytes all that its pixels depend on; a Clip's is its file.
    Raises PictureError or DataError for a picture that cannot be decoded, with its id, and DataError where the file cannot be
    written.
    """
    away = [k for k, s in enumerate(found.samples) if not getattr(s.clip, "in_memory", False)]
    if not away:
        return found
    samples = [found.samples[k] for k in away]
    shape = (len(away), 1 if grey else 3, size, size)
    large = math.prod(shape)                                        # bytes
    if not folder or large > most:
        why = f"{_amount(large)} decoded: above {_amount(most)}" if folder else "no folder to keep decoded pictures in"
        return found._replace(found=[*found.found, f"packed: {why}, so every epoch decodes anew"])
    whole = blake2b(repr((VERSION, size, grey)).encode(), digest_size=16)
    with contextlib.closing(_threaded(_digests, samples)) as each:
        for digests in each:
            if isinstance(digests, str):
                line = f"packed: {digests}, and only single pictures are kept; every epoch decodes anew"
                return found._replace(found=[*found.found, line])
            whole.update(digests)
    path = Path(folder) / f"{whole.hexdigest()}.npy"
    how = "found"
    if not _there(path, shape):
        if len(away) > MANY:
            say(f"packed: decoding {len(away)} pictures to {size} px, this once; they are kept in {folder}")
        started = time.monotonic()
        _write(samples, path, shape)
        _opened.cache_clear()                                       # what was there before may have been cut short
        how = f"decoded in {time.monotonic() - started:.0f} s"
    rows = list(found.samples)
    for n, k in enumerate(away):
        rows[k] = dataclasses.replace(rows[k], clip=Row(str(path), n))
    line = f"packed: {len(away)} pictures at {size} px, {_amount(large)}, in {path}, {how}"
    return found._replace(samples=rows, found=[*found.found, line])


# ---- what a picture is decoded from

def raw(clip: Any) -> bytes:
    """All that a clip's pixels depend on beside the size: what its raw() says, or its file's bytes."""
    if hasattr(clip, "raw"):
        return clip.raw()
    return Path(clip.frames[0] if clip.frames else clip.path).read_bytes()


def _digests(samples: list[Sample]) -> bytes | str:
    """The pictures' checksums, 16 bytes each; or what is wrong with the first that is no single picture."""
    each = []
    for sample in samples:
        with _named(sample):
            if (n := len(sample.clip)) != 1:
                return f"{sample.id} has {n} frames"
            each.append(blake2b(raw(sample.clip), digest_size=16).digest())
    return b"".join(each)


@contextlib.contextmanager
def _named(sample: Sample) -> Iterator[None]:
    """Say whose picture cannot be read."""
    try:
        yield
    except (PictureError, DataError) as error:
        raise type(error)(f"picture {sample.id}: {error}") from error
    except OSError as error:
        raise DataError(f"picture {sample.id}: {error.filename or 'its file'} cannot be read ({error.strerror or error}); "
                        f"copy it again, or remove it") from error


def _threaded(work: Callable[[list[Sample]], Any], samples: list[Sample]) -> Iterator[Any]:
    """Work on some samples at a time, several threads side by side, results in order; whatever stops it ends the threads."""
    pool = ThreadPoolExecutor(min(THREADS, os.cpu_count() or 1))
    try:
        yield from pool.map(work, [samples[k:k + TOGETHER] for k in range(0, len(samples), TOGETHER)])
    finally:
        pool.shutdown(cancel_futures=True)


# ---- the file

@lru_cache(maxsize=16)
def _opened(path: str) -> np.ndarray:
    """The rows of a packed file, mapped into memory once a process."""
    try:
        return np.asarray(np.load(path, mmap_mode="r", allow_pickle=False))            # a plain view: a memmap's rows cost more
    except OSError as error:
        raise DataError(f"{path}: the packed pictures cannot be read ({error.strerror or error}); start again, and they are packed "
                        f"anew") from error


def _head(shape: tuple[int, ...]) -> bytes:
    """What stands before the pixels in an .npy file of uint8."""
    head = io.BytesIO()
    np.lib.format.write_array_header_1_0(head, {"descr": "|u1", "fortran_order": False, "shape": shape})
    return head.getvalue()


def _there(path: Path, shape: tuple[int, ...]) -> bool:
    """Whether a file is there, is what it should be, and as long as it should be."""
    head = _head(shape)
    try:
        with path.open("rb") as file:
            return file.read(len(head)) == head and os.fstat(file.fileno()).st_size == len(head) + math.prod(shape)
    except OSError:
        return False


def _write(samples: list[Sample], path: Path, shape: tuple[int, ...]) -> None:
    """Decode and write, whole or not at all; several processes may do so at once."""
    def decoded(some: list[Sample]) -> np.ndarray:
        rows = np.empty((len(some), *shape[1:]), np.uint8)
        for row, sample in zip(rows, some):
            with _named(sample):
                picture = sample.clip.read([0], shape[-1])[0]                           # (3, S, S)
                row[:] = (without_colour(picture)[:1] if len(row) == 1 else picture).numpy()            # (1 or 3, S, S)
        return rows

    part = path.with_suffix(f".{uuid.uuid4().hex}.part")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with part.open("xb") as file, contextlib.closing(_threaded(decoded, samples)) as parts:
            file.write(_head(shape))
            for rows in parts:
                file.write(rows.data)
            file.flush()
            os.fsync(file.fileno())
        os.replace(part, path)
    except OSError as error:
        raise DataError(f"--cache {path.parent}: {_amount(math.prod(shape))} of decoded pictures cannot be written "
                        f"({error.strerror or error}); make room, name another folder, or keep nothing with --cache ''") from error
    finally:
        with contextlib.suppress(OSError):
            part.unlink(missing_ok=True)


def _amount(n: int) -> str:
    """460170000 → 460 MB"""
    return f"{n / 1e9:.0f} GB" if n >= 9.5e9 else f"{n / 1e9:.1f} GB" if n >= 1e9 else f"{n / 1e6:.{0 if n >= 1e7 else 1}f} MB"
