"""MNIST, Fashion-MNIST and CIFAR-10 from their original archives, decoded once into a file of arrays for each.

tensorflow-datasets has their addresses, sizes and SHA-256 sums. The file is `<source>-<version of tensorflow-datasets>.npz`
in the folder `data` of the cache, and every later read is that file alone.
"""

import gzip
import hashlib
import importlib.metadata
import io
import logging
import tarfile
import urllib.request
from collections.abc import Callable, Mapping
from http.client import HTTPException
from pathlib import Path
from typing import Any

import numpy as np

from cnn_constraints.arrays import Dataset, Split
from cnn_constraints.errors import InputError, input_error
from cnn_constraints.files import atomic_write
from cnn_constraints.settings import DATA_VARIABLE, cache_folder, make_cache_folder

REACH_SECONDS = 5.0
"""How long a server may be silent."""

logger = logging.getLogger(__name__)


def load_archives(name: str, folder: Path | None) -> Dataset:
    """The dataset `name`, in the order of its archives; prepared at the first call and read from the cache afterwards.

    The archives come from `folder`, or from its subfolder `name` where there is one, or without a folder from the network.
    A cache that is already prepared is read without looking at them again: they were verified.

    Raises InputError for an archive that is missing, not the original, or cannot be fetched, and for a cache folder
    that cannot be written.
    """
    try:
        # Which is that of the checksums; to import the package would take a second.
        version = importlib.metadata.version("tensorflow-datasets")
    except importlib.metadata.PackageNotFoundError:
        raise InputError(f"The data source {name!r} needs the extra `data`: pip install -e '.[data]'.") from None
    prepared = cache_folder() / "data" / f"{name}-{version}.npz"
    if prepared.exists():
        try:
            return _read_arrays(name, prepared)
        except Exception as error:  # whatever is wrong with a copy, the remedy is a new one
            logger.warning("The cached arrays %s are damaged (%s) and will be made again.", prepared, error)
    make_cache_folder(prepared.parent)
    decode, classes = DECODERS[name]
    train, test = decode(_originals(name, folder))
    with atomic_write(prepared) as temporary, temporary.open("wb") as file:
        np.savez(file, *train, *test, classes.split(","))
    return _read_arrays(name, prepared)


def _read_arrays(name: str, prepared: Path) -> Dataset:
    # A zip file carries a CRC-32 for each array, which is compared while the array is read.
    with prepared.open("rb") as file, np.load(file, allow_pickle=False) as arrays:
        train_images, train_labels, test_images, test_labels, classes = arrays.values()
    return Dataset(name, Split(train_images, train_labels), Split(test_images, test_labels), tuple(classes.tolist()))


def _originals(name: str, folder: Path | None) -> dict[str, bytes]:
    """The archives by file name, each compared with its registered size and sum."""
    import tensorflow_datasets as tfds

    stock: Any = tfds.builder_cls(name)
    archives = dict(sorted(stock.url_infos.items()))
    if folder is not None:
        return {info.filename: _from_folder(name, folder, url, info) for url, info in archives.items()}
    wanted = ", ".join(info.filename for info in archives.values())
    logger.info("Fetching %s (%.0f MiB), once.", name, sum(info.size for info in archives.values()) / 2**20)
    return {info.filename: _from_network(name, url, info, wanted) for url, info in archives.items()}


def _from_folder(name: str, folder: Path, url: str, info: Any) -> bytes:
    # Fashion-MNIST took MNIST's file names, so that both need a subfolder.
    with input_error(f"{str(folder)!r} cannot be read", "mend that first."):
        path = (folder / name if (folder / name).is_dir() else folder) / info.filename
        if not path.is_file():
            raise InputError(
                f"The data source {name!r} needs the original archive {info.filename} and {str(path.parent)!r} does not "
                f"hold it: fetch it from {url}, or give no folder and unset {DATA_VARIABLE} to have it downloaded."
            )
        content = path.read_bytes()
    if not _is_original(content, info):
        raise InputError(
            f"{str(path)!r} is not the original archive of {name!r}, which has {int(info.size)} bytes and the SHA-256 "
            f"{info.checksum}: replace it by a fresh copy of {url}."
        )
    return content


def _from_network(name: str, url: str, info: Any, wanted: str) -> bytes:
    reason = "sends what is not the original archive"
    # The downloads of tensorflow-datasets retry a dead server for 205 seconds, and wait for ever for a silent one.
    try:
        with urllib.request.urlopen(url, timeout=REACH_SECONDS) as answer:
            if _is_original(content := answer.read(), info):
                return content
    except (OSError, HTTPException) as error:
        reason = f"cannot be reached ({error})"
    raise InputError(
        f"The data source {name!r} cannot be downloaded, since {url} {reason}: put the original archives ({wanted}) into a "
        f"folder, and give that folder or name it in the environment variable {DATA_VARIABLE}."
    )


def _is_original(content: bytes, info: Any) -> bool:
    return (len(content), hashlib.sha256(content).hexdigest()) == (info.size, info.checksum)


def _decode_idx(archives: Mapping[str, bytes]) -> list[Split]:
    """MNIST's format: big-endian headers of 16 bytes before 28 x 28 images and of 8 bytes before labels."""

    def content(name: str, header: int) -> np.ndarray:
        return np.frombuffer(gzip.decompress(archives[name]), np.uint8, offset=header)

    return [
        Split(
            content(f"{prefix}-images-idx3-ubyte.gz", 16).reshape(-1, 28, 28, 1),
            content(f"{prefix}-labels-idx1-ubyte.gz", 8).astype(np.int32),
        )
        for prefix in ("train", "t10k")
    ]


def _decode_cifar10(archives: Mapping[str, bytes]) -> list[Split]:
    """CIFAR-10's binary format: records of one label byte and 3 x 32 x 32 bytes, channel before row before column."""
    with tarfile.open(fileobj=io.BytesIO(archives["cifar-10-binary.tar.gz"])) as archive:
        # A compressed archive is read once through: its members stand in no particular order.
        members = {Path(member.name).name: file.read() for member in archive if (file := archive.extractfile(member))}
    splits = []
    for names in ([f"data_batch_{number}.bin" for number in range(1, 6)], ["test_batch.bin"]):
        records = np.frombuffer(b"".join(members[name] for name in names), np.uint8).reshape(-1, 1 + 3 * 32 * 32)
        images = records[:, 1:].reshape(-1, 3, 32, 32).transpose(0, 2, 3, 1)
        splits.append(Split(images, records[:, 0].astype(np.int32)))
    return splits


DECODERS: dict[str, tuple[Callable[[Mapping[str, bytes]], list[Split]], str]] = {
    "mnist": (_decode_idx, "0,1,2,3,4,5,6,7,8,9"),
    "fashion_mnist": (_decode_idx, "T-shirt/top,Trouser,Pullover,Dress,Coat,Sandal,Shirt,Sneaker,Bag,Ankle boot"),
    "cifar10": (_decode_cifar10, "airplane,automobile,bird,cat,deer,dog,frog,horse,ship,truck"),
}
"""The training and the test split from archives by file name, and the names of the classes."""
