"""MNIST, Fashion-MNIST and CIFAR-10 through tensorflow-datasets, without TensorFlow.

The stock builders of tensorflow-datasets need TensorFlow to unpack an archive and to code an image. A subclass here
keeps their name, version, features, addresses and checksums, and replaces only those two steps. What it prepares is
decoded once into one `.npz` file; every later read is that file alone.

    <cache>/tensorflow_datasets/downloads/                     what tensorflow-datasets fetched
    <cache>/tensorflow_datasets/<source>-<version>-<digest>/   digest: of the archives' registered SHA-256 sums
        <source>/<version>/                                    the prepared dataset, as array_record
        arrays.npz                                             the same examples, decoded
"""

import contextlib
import gzip
import hashlib
import io
import logging
import os
import shutil
import tarfile
import zipfile
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from cnn_constraints.arrays import Dataset, Split
from cnn_constraints.errors import InputError
from cnn_constraints.files import locked
from cnn_constraints.settings import DATA_VARIABLE, cache_folder, make_cache_folder

REACH_SECONDS = 5.0
"""How long a server may take to answer at all. tensorflow-datasets by itself retries a dead one for 205 seconds."""

logger = logging.getLogger(__name__)

Reader = Callable[[Mapping[str, Path]], Dataset]
"""From archives, by file name, to what they hold in their own order; without class names where they give none."""


def load_archives(name: str, folder: Path | None) -> Dataset:
    """The dataset `name`, in the order of its archives; prepared at the first call and read from the cache afterwards.

    The archives come from `folder`, or from its subfolder `name` where there is one, or without a folder from the
    network. tensorflow-datasets compares their size and SHA-256 with those it has registered. A cache that is already
    prepared is read without looking at them again: it stands under the same sums.

    Raises InputError for an archive that is missing, not the original, or cannot be fetched, and for a cache folder
    that cannot be written.
    """
    # It takes a second to import, which users of other sources should not wait for.
    import tensorflow_datasets as tfds

    stock = tfds.builder_cls(name)
    home = _home(name, stock)
    if dataset := _read_arrays(name, home / "arrays.npz"):
        return dataset
    make_cache_folder(home)
    # Two processes must not prepare the same folder: the second one waits and finds the arrays of the first.
    with locked(home / "lock"):
        dataset = _read_arrays(name, home / "arrays.npz")
        if dataset is None:
            dataset = _prepared(name, stock, home, folder)
            _write_arrays(dataset, home / "arrays.npz")
    return dataset


def _home(name: str, stock: Any) -> Path:
    """The folder of all that is prepared from one source, at one version, from archives of one content."""
    checksums = sorted(f"{info.filename} {info.checksum}" for info in stock.url_infos.values())
    digest = hashlib.sha256("\n".join(checksums).encode()).hexdigest()[:12]
    return cache_folder() / "tensorflow_datasets" / f"{name}-{stock.VERSION}-{digest}"


def _read_arrays(name: str, path: Path) -> Dataset | None:
    """The decoded dataset, or None where there is none or where a byte of it is not what was written."""
    try:
        # A zip file carries a CRC-32 for each array, which is compared while the array is read.
        with path.open("rb") as file, np.load(file, allow_pickle=False) as arrays:
            return Dataset(
                name=name,
                train=Split(arrays["train_images"], arrays["train_labels"]),
                test=Split(arrays["test_images"], arrays["test_labels"]),
                classes=tuple(arrays["classes"].tolist()),
            )
    except (FileNotFoundError, NotADirectoryError):
        return None
    except (OSError, ValueError, KeyError, EOFError, NotImplementedError, RuntimeError, zipfile.BadZipFile) as error:
        logger.warning("The cached arrays %s are damaged (%s) and will be made again.", path, error)
        return None


def _write_arrays(dataset: Dataset, path: Path) -> None:
    temporary = path.with_suffix(".tmp")
    with temporary.open("wb") as file:
        np.savez(
            file,
            train_images=dataset.train.images,
            train_labels=dataset.train.labels,
            test_images=dataset.test.images,
            test_labels=dataset.test.labels,
            classes=np.array(dataset.classes),
        )
    os.replace(temporary, path)


def _prepared(name: str, stock: Any, home: Path, folder: Path | None) -> Dataset:
    """The dataset by way of tensorflow-datasets: from what it prepared before, or from the archives."""
    builder_class = _builder_class(name, stock, _READERS[name])
    if (home / name / str(stock.VERSION)).exists():
        try:
            return _decoded(name, builder_class(data_dir=home, file_format="array_record"))
        except Exception as error:  # whatever is wrong with a copy, the remedy is a new one
            logger.warning("The prepared dataset in %s is damaged (%s) and will be made again.", home, error)
    shutil.rmtree(home / name, ignore_errors=True)
    downloads = home.parent / "downloads"
    archives = None if folder is None else _archive_folder(name, stock, folder)
    if archives is None:
        _require_network(name, stock, downloads)
    builder = builder_class(data_dir=home, file_format="array_record")
    logger.info("Preparing %s in %s, once; this takes about half a minute.", name, home)
    _prepare(name, builder, downloads, archives)
    return _decoded(name, builder)


def _archive_folder(name: str, stock: Any, folder: Path) -> Path:
    """Where in `folder` the archives are; Fashion-MNIST took MNIST's file names, so that both need a subfolder.

    tensorflow-datasets compares them with its sums as well, but after it has begun.
    """
    from tensorflow_datasets.core.download.checksums import compute_url_info

    archives = folder / name if (folder / name).is_dir() else folder
    wanted = sorted(stock.url_infos.items())
    try:
        for url, info in wanted:
            if not (archives / info.filename).is_file():
                raise InputError(
                    f"The data source {name!r} needs the original archive {info.filename} and {str(archives)!r} does not "
                    f"hold it: fetch it from {url}, or give no folder and unset {DATA_VARIABLE} to have it downloaded."
                )
        found = [compute_url_info(archives / info.filename) for _, info in wanted]
    except OSError as error:
        raise InputError(f"{str(error.filename)!r} cannot be read ({error.strerror}): mend that first.") from error
    for (url, info), own in zip(wanted, found, strict=True):
        if (own.size, own.checksum) != (info.size, info.checksum):
            raise InputError(
                f"{str(archives / info.filename)!r} is not the original archive of {name!r}, which has {int(info.size)} "
                f"bytes and the SHA-256 {info.checksum}: replace it by a fresh copy of {url}."
            )
    return archives


def _require_network(name: str, stock: Any, downloads: Path) -> None:
    """Raises InputError where an archive must be fetched and its server does not answer."""
    import requests
    from tensorflow_datasets.core.download import resource

    for url, info in stock.url_infos.items():
        if (downloads / name / resource.get_dl_fname(url, info.checksum)).exists():
            continue
        try:
            requests.head(url, timeout=REACH_SECONDS)
        except requests.RequestException as error:
            raise _not_downloaded(name, stock, f"{url} cannot be reached") from error


def _not_downloaded(name: str, stock: Any, reason: str) -> InputError:
    wanted = ", ".join(sorted(info.filename for info in stock.url_infos.values()))
    return InputError(
        f"The data source {name!r} cannot be downloaded, since {reason}: put the original archives ({wanted}) into a "
        f"folder, and give that folder or name it in the environment variable {DATA_VARIABLE}."
    )


def _prepare(name: str, builder: Any, downloads: Path, archives: Path | None) -> None:
    """Has tensorflow-datasets fetch, check and write the dataset, silently."""
    import requests
    import tensorflow_datasets as tfds
    from tensorflow_datasets.core.download.download_manager import NonMatchingChecksumError

    tfds.disable_progress_bar()
    settings = tfds.download.DownloadConfig(
        manual_dir=archives, try_download_gcs=False, force_checksums_validation=True
    )
    try:
        # tensorflow-datasets prints where it prepares; a library that is asked for arrays must not.
        with contextlib.redirect_stdout(io.StringIO()):
            builder.download_and_prepare(download_dir=downloads, download_config=settings)
    except NonMatchingChecksumError as error:
        # The exception carries the archive in its text only.
        url = next(url for url in builder.url_infos if url in str(error))
        raise _not_downloaded(name, builder, f"what {url} sends is not the original archive") from error
    except (requests.RequestException, tfds.download.DownloadError) as error:
        raise _not_downloaded(name, builder, f"the transfer failed ({type(error).__name__})") from error


def _decoded(name: str, builder: Any) -> Dataset:
    """The prepared examples as arrays."""
    import tensorflow_datasets as tfds

    shape = builder.info.features["image"].shape

    def split(which: str) -> Split:
        # Pillow on the stored bytes takes half the time of the decoder of tensorflow-datasets, which warns as well.
        source = builder.as_data_source(which, decoders={"image": tfds.decode.SkipDecoding()})
        records = source.__getitems__(range(len(source)))
        images = np.stack([np.asarray(Image.open(io.BytesIO(record["image"]))) for record in records])
        return Split(images.reshape(-1, *shape), np.array([record["label"] for record in records], np.int32))

    return Dataset(name, split("train"), split("test"), tuple(builder.info.features["label"].names))


def _builder_class(name: str, stock: Any, read: Reader) -> Any:
    """The stock builder of one dataset, but able to work without TensorFlow."""
    import tensorflow_datasets as tfds
    from tensorflow_datasets.core import registered

    class LocalInfo(tfds.core.DatasetInfo):
        def initialize_from_bucket(self) -> None:
            """Asks no server for the statistics of a dataset that is not prepared yet."""

    with registered.skip_registration():

        class Builder(stock):
            """Reads the original archives and hands over images that are coded already."""

            url_infos = stock.url_infos

            def _info(self) -> tfds.core.DatasetInfo:
                info = super()._info()
                # Shuffling is done once per run, from a key. The order on disk stays that of the archives.
                return LocalInfo(
                    builder=self,
                    description=info.description,
                    features=info.features,
                    supervised_keys=info.supervised_keys,
                    homepage=info.homepage,
                    citation=info.citation,
                    disable_shuffling=True,
                )

            def _split_generators(self, dl_manager: Any) -> dict[str, Iterator[tuple[int, dict[str, Any]]]]:
                files = dl_manager.download({info.filename: url for url, info in self.url_infos.items()})
                originals = read({filename: Path(file) for filename, file in files.items()})
                if originals.classes:
                    self.info.features["label"].names = originals.classes
                return {
                    "train": self._generate_examples("train", originals.train),
                    "test": self._generate_examples("test", originals.test),
                }

            def _generate_examples(self, which: str, split: Split) -> Iterator[tuple[int, dict[str, Any]]]:
                # Pillow takes a grayscale image without a channel axis.
                images = split.images[..., 0] if split.images.shape[-1] == 1 else split.images
                for index, (image, label) in enumerate(zip(images, split.labels, strict=True)):
                    coded = io.BytesIO()
                    Image.fromarray(image).save(coded, "PNG", compress_level=1)
                    example = {"image": coded.getvalue(), "label": int(label), "id": f"{which}_{index:05d}"}
                    yield index, {feature: example[feature] for feature in self.info.features}

    Builder.name = name
    return Builder


def _read_idx(files: Mapping[str, Path]) -> Dataset:
    """MNIST's format: big-endian headers of 16 bytes before 28 x 28 images and of 8 bytes before labels."""

    def content(name: str, header: int) -> np.ndarray:
        return np.frombuffer(gzip.decompress(files[name].read_bytes()), np.uint8, offset=header)

    def split(prefix: str) -> Split:
        images = content(f"{prefix}-images-idx3-ubyte.gz", 16).reshape(-1, 28, 28, 1)
        return Split(images, content(f"{prefix}-labels-idx1-ubyte.gz", 8).astype(np.int32))

    return Dataset("idx", split("train"), split("t10k"), ())


def _read_cifar10(files: Mapping[str, Path]) -> Dataset:
    """CIFAR-10's binary format: records of one label byte and 3 x 32 x 32 bytes, channel before row before column."""
    with tarfile.open(files["cifar-10-binary.tar.gz"]) as archive:
        # A compressed archive is read once through: its members stand in no particular order.
        members = {Path(member.name).name: file.read() for member in archive if (file := archive.extractfile(member))}

    def split(*names: str) -> Split:
        records = np.frombuffer(b"".join(members[name] for name in names), np.uint8).reshape(-1, 1 + 3 * 32 * 32)
        return Split(records[:, 1:].reshape(-1, 3, 32, 32).transpose(0, 2, 3, 1), records[:, 0].astype(np.int32))

    train = split(*(f"data_batch_{number}.bin" for number in range(1, 6)))
    return Dataset("cifar10", train, split("test_batch.bin"), tuple(members["batches.meta.txt"].decode().split()))


_READERS: dict[str, Reader] = {"mnist": _read_idx, "fashion_mnist": _read_idx, "cifar10": _read_cifar10}
