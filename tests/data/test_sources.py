"""The sources hand over exactly what their originals hold, in order, and refuse anything else in one sentence."""

import gzip
import io
import shutil
import socket
import subprocess
import sys
import tarfile
import threading
import time
from collections.abc import Callable
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tensorflow_datasets as tfds
from image_files import KINDS
from PIL import Image
from sklearn.datasets import load_digits
from tensorflow_datasets.core.download.checksums import compute_url_info

from cnn_constraints.arrays import Dataset, Split
from cnn_constraints.data import sources, tasks
from cnn_constraints.errors import InputError
from cnn_constraints.settings import CACHE_VARIABLE, DATA_VARIABLE

IMAGES, LABELS = "train-images-idx3-ubyte.gz", "train-labels-idx1-ubyte.gz"
Register = Callable[..., None]


def damaged(path: Path, damage: str) -> bytes:
    """Damages the file; returns what it was."""
    content = path.read_bytes()
    middle = len(content) // 2
    flipped = content[:middle] + bytes([content[middle] ^ 1]) + content[middle + 1 :]
    path.write_bytes({"cut": content[:middle], "emptied": b"", "one bit": flipped}[damage])
    return content


@pytest.fixture(autouse=True)
def own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv(CACHE_VARIABLE, str(tmp_path / "cache"))
    monkeypatch.delenv(DATA_VARIABLE, raising=False)
    return tmp_path / "cache"


@pytest.fixture
def register(monkeypatch: pytest.MonkeyPatch) -> Register:
    """Makes tensorflow-datasets take the archives in a folder for the originals, as if they came from `address`."""

    def substitute(name: str, folder: Path, address: str = "http://localhost:1") -> None:
        stock: Any = tfds.builder_cls(name)
        files = [folder / info.filename for info in stock.url_infos.values()]
        monkeypatch.setattr(stock, "url_infos", {f"{address}/{file.name}": compute_url_info(file) for file in files})

    return substitute


@pytest.fixture
def idx_folder(tmp_path: Path, seed: int) -> Path:
    """Two splits of random images in MNIST's format."""
    random, folder = np.random.default_rng(seed), tmp_path / "archives"
    folder.mkdir()
    for prefix, count in (("train", 37), ("t10k", 11)):
        images = np.array([2051, count, 28, 28], ">i4").tobytes() + random.bytes(count * 28 * 28)
        labels = np.array([2049, count], ">i4").tobytes() + random.integers(0, 10, count, np.uint8).tobytes()
        (folder / f"{prefix}-images-idx3-ubyte.gz").write_bytes(gzip.compress(images))
        (folder / f"{prefix}-labels-idx1-ubyte.gz").write_bytes(gzip.compress(labels))
    return folder


def assert_same(split: Split, images: np.ndarray, labels: np.ndarray | list[int]) -> None:
    assert split.images.dtype == np.uint8 and split.labels.dtype == np.int32
    np.testing.assert_array_equal(split.images, images)
    np.testing.assert_array_equal(split.labels, labels)


def assert_equal_to_archives(dataset: Dataset, folder: Path) -> None:
    for split, prefix in ((dataset.train, "train"), (dataset.test, "t10k")):
        images = gzip.decompress((folder / f"{prefix}-images-idx3-ubyte.gz").read_bytes())[16:]
        labels = gzip.decompress((folder / f"{prefix}-labels-idx1-ubyte.gz").read_bytes())[8:]
        assert_same(split, np.frombuffer(images, np.uint8).reshape(-1, 28, 28, 1), np.frombuffer(labels, np.uint8))


def refused(name: str, folder: Path | None, *parts: str) -> None:
    """Loading must fail with one sentence that holds all parts."""
    with pytest.raises(InputError) as caught:
        sources.load(name, folder)
    sentence = str(caught.value)
    assert "\n" not in sentence and sentence[-1] in ".?"
    assert [part for part in parts if part not in sentence] == [], sentence


def test_real_mnist_is_its_archives_and_is_then_read_from_the_cache(archives, capfd):
    first = sources.load("mnist", archives)
    assert capfd.readouterr() == ("", "")
    assert_equal_to_archives(first, archives / "mnist" if (archives / "mnist").is_dir() else archives)
    counts = [5923, 6742, 5958, 6131, 5842, 5421, 5918, 6265, 5851, 5949]
    assert np.bincount(first.train.labels).tolist() == counts and first.classes == tuple("0123456789")
    script = "import sys; from cnn_constraints.data.sources import load; load('mnist'); print(*sys.modules)"
    again = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert not {"tensorflow_datasets", "PIL", "sklearn", "requests"} & set(again.stdout.split())


@pytest.mark.parametrize(("name", "last_class"), [("mnist", "9"), ("fashion_mnist", "Ankle boot")])
@pytest.mark.parametrize("subfolder", [False, True])
def test_archives_are_found_where_they_are_said_to_be(name, last_class, subfolder, idx_folder, register, monkeypatch):
    register(name, idx_folder)
    told = idx_folder.parent / "data"
    archive_folder = told / name if subfolder else told
    shutil.copytree(idx_folder, archive_folder)
    dataset = sources.load(name, str(told))
    assert_equal_to_archives(dataset, archive_folder)
    assert dataset.name == name and dataset.classes[-1] == last_class and len(dataset.classes) == 10
    monkeypatch.setenv(CACHE_VARIABLE, str(told / "other cache"))
    monkeypatch.setenv(DATA_VARIABLE, str(told))
    assert_equal_to_archives(sources.load(name), archive_folder)


def test_cifar10_is_in_the_order_of_its_batches_with_channels_last(tmp_path, register):
    random, records = np.random.default_rng(0), {}
    with tarfile.open(tmp_path / "cifar-10-binary.tar.gz", "w:gz") as archive:
        for count, number in enumerate((4, 2, 5, 0, 1, 3), start=3):
            records[number] = random.integers(0, 256, (count, 3073), np.uint8)
            records[number][:, 0] %= 10
            name = f"data_batch_{number}.bin" if number else "test_batch.bin"
            member = tarfile.TarInfo(f"cifar-10-batches-bin/{name}")
            member.size = records[number].size
            archive.addfile(member, io.BytesIO(records[number].tobytes()))
    register("cifar10", tmp_path)
    dataset = sources.load("cifar10", tmp_path)
    assert dataset.classes[0] == "airplane" and dataset.classes[-1] == "truck" and len(dataset.classes) == 10
    train = np.concatenate([records[number] for number in range(1, 6)])
    for split, expected in ((dataset.train, train), (dataset.test, records[0])):
        planes = [expected[:, 1 + 1024 * channel :][:, :1024].reshape(-1, 32, 32) for channel in range(3)]
        assert_same(split, np.stack(planes, axis=-1), expected[:, 0])


@pytest.mark.parametrize("damage", ["cut", "emptied", "one bit"])
def test_a_damaged_archive_is_refused_by_name_and_a_damaged_cache_made_again(damage, idx_folder, own_cache, register):
    refused("mnist", idx_folder, "is not the original archive", "https://storage.googleapis.com/cvdf-datasets/mnist/")
    register("mnist", idx_folder)
    original = damaged(idx_folder / IMAGES, damage)
    refused("mnist", idx_folder, str(idx_folder / IMAGES), "fresh copy")
    assert not list(own_cache.rglob("*.npz"))
    (idx_folder / IMAGES).write_bytes(original)
    assert_equal_to_archives(sources.load("mnist", idx_folder), idx_folder)
    (arrays,) = (path for path in own_cache.rglob("*") if path.is_file())
    whole = damaged(arrays, damage)
    assert_equal_to_archives(sources.load("mnist", idx_folder), idx_folder)
    assert arrays.read_bytes() == whole


def test_what_does_not_exist_is_refused(tmp_path, idx_folder, register, monkeypatch):
    refused("minst", None, "'minst'", "cifar10, digits, fashion_mnist, folder, mnist", "'mnist'?")
    refused("folder", None, "needs a folder")
    for name in ("digits", *tasks.TASKS):
        refused(name, tmp_path, f"data.folder is '{tmp_path}': {name} reads no folder")
    refused("mnist", tmp_path / "no", f"no data folder '{tmp_path}/no'")
    refused("mnist", tmp_path / (300 * "x"), "cannot be used (File name too long)")
    monkeypatch.setenv(DATA_VARIABLE, f"{tmp_path}/no")
    refused("mnist", None, f"{tmp_path}/no", DATA_VARIABLE)
    monkeypatch.setenv(CACHE_VARIABLE, str(idx_folder / LABELS))
    refused("mnist", idx_folder, str(idx_folder / LABELS), CACHE_VARIABLE)
    monkeypatch.setenv(CACHE_VARIABLE, str(tmp_path / "cache"))
    register("mnist", idx_folder)
    (idx_folder / LABELS).unlink()
    refused("mnist", idx_folder, "needs the original archive", LABELS, str(idx_folder), DATA_VARIABLE)


def test_without_network_the_way_out_is_told_promptly(monkeypatch):
    monkeypatch.setattr("cnn_constraints.data.archives.REACH_SECONDS", 0.3)
    with socket.socket() as proxy:
        proxy.bind(("127.0.0.1", 0))
        monkeypatch.setenv("HTTPS_PROXY", f"http://127.0.0.1:{proxy.getsockname()[1]}")
        refused("mnist", None, "cannot be reached", IMAGES, LABELS, DATA_VARIABLE)
        proxy.listen()  # now it lets everyone in and never says a word
        start = time.monotonic()
        refused("mnist", None, "cannot be reached", IMAGES, LABELS, DATA_VARIABLE)
        assert time.monotonic() - start < 5


def test_downloads_are_checked(idx_folder, register, monkeypatch):
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    handler = partial(SimpleHTTPRequestHandler, directory=str(idx_folder))
    with ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        address = f"http://127.0.0.1:{server.server_port}"
        register("mnist", idx_folder, address)
        original = damaged(idx_folder / IMAGES, "one bit")
        refused("mnist", None, f"{address}/{IMAGES}", "not the original archive", DATA_VARIABLE)
        (idx_folder / IMAGES).unlink()
        refused("mnist", None, f"{address}/{IMAGES} cannot be reached", "404", DATA_VARIABLE)
        (idx_folder / IMAGES).write_bytes(original)
        assert_equal_to_archives(sources.load("mnist"), idx_folder)
        server.shutdown()


def test_digits_are_split_by_class_and_scaled_to_255():
    dataset = sources.load("digits")
    raw, classes = (np.asarray(array) for array in load_digits(return_X_y=True))
    assert np.bincount(dataset.test.labels).tolist() == [40] * 10
    assert dataset.train.images.shape == (1397, 8, 8, 1) and dataset.train.labels.dtype == np.int32
    together = [(image.tobytes(), label) for split in dataset[1:3] for image, label in zip(*split, strict=True)]
    scaled = np.array([int(v * 255 / 16 + 0.5) for v in range(17)], np.uint8)[raw.astype(int)]
    assert sorted(together) == sorted((image.tobytes(), label) for image, label in zip(scaled, classes, strict=True))


def write_images(root: Path, grays: int) -> np.ndarray:
    """Two classes in two splits, the first `grays` images of mode L; returns the pixels, in sorted order."""
    pixels = np.random.default_rng(0).integers(0, 256, (6, 5, 4, 3), np.uint8)
    pixels[:grays] = pixels[:grays, ..., :1]
    names = "train/cat/1.png train/cat/2.PNG train/dog/1.png train/dog/2.png test/cat/3.png test/dog/3.png"
    for index, name in enumerate(names.split()):
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(pixels[index]).convert("L" if index < grays else "RGB").save(root / name)
    return pixels


@pytest.mark.parametrize(("grays", "channels"), [(6, 1), (4, 3), (0, 3)])
def test_an_image_folder_is_read_in_sorted_order_and_known_by_its_digest(grays, channels, tmp_path):
    pixels, digest = write_images(tmp_path, grays)[..., :channels], sources.digest(tmp_path)
    (tmp_path / "train/cat/notes.txt").write_text("no image")
    (tmp_path / "train/.hidden").mkdir()
    dataset = sources.load("folder", tmp_path)
    assert dataset.classes == ("cat", "dog") and sources.digest(tmp_path) == digest
    assert_same(dataset.train, pixels[:4], [0, 0, 1, 1])
    assert_same(dataset.test, pixels[4:], [0, 1])
    (tmp_path / "test/dog/3.png").rename(tmp_path / "test/dog/4.png")
    assert sources.digest(tmp_path) != digest


@pytest.mark.parametrize("kind", KINDS)
def test_an_image_is_what_a_viewer_shows_on_white_and_transparency_is_told_once(kind, generator, tmp_path, caplog):
    picture = KINDS[kind](generator, (5, 4))
    for name in ("train/cat/1", "train/dog/1", "test/cat/2", "test/dog/2"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / f"{name}{picture.suffix}").write_bytes(picture.content)
    if picture.seen is None:
        refused("folder", tmp_path, "/train/cat/1.png' has more than 8 bits per channel")
        return
    images = sources.load("folder", tmp_path).train.images
    assert np.abs(images - picture.seen.astype(int)).max() <= picture.tolerance
    told = f"'{tmp_path}' has transparent images: they are laid on white, as on a page."
    transparent = any(word in kind for word in ("transparent", "alpha", "RGBA"))
    assert [record.message for record in caplog.records] == [told] * transparent


def test_what_is_passed_over_is_counted_in_one_line(tmp_path, caplog):
    write_images(tmp_path, grays=6)
    extra = "train/cat/a.webp train/cat/b.WEBP test/dog/notes.txt test/dog/.DS_Store train/cat/more/1.png"
    for name in (*extra.split(), "train/cat/more/deep/2.png", "train/cat/more/deep/3.png", "test/4.png"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).touch()
    sources.digest(tmp_path)
    sources.load("folder", tmp_path)
    assert [record.message for record in caplog.records] == [
        f"7 files in '{tmp_path}' passed over: 3 nested, 2 .webp, 1 in no class folder, 1 .txt."
    ]


def test_names_need_be_no_text(tmp_path):
    root = tmp_path / "caf\udce9"
    write_images(root, grays=6)
    (root / "train/cat/1.png").rename(root / "train/cat/\udce9.png")
    (root / "train/cat/\udce9.webp").touch()
    for split in ("train", "test"):
        (root / split / "dog").rename(root / split / "d\udcf6g")
    digest, dataset = sources.digest(root), sources.load("folder", root)
    assert len(digest) == 64 and len(dataset.train.labels) == 4 and dataset.classes == ("cat", r"d\udcf6g")
    (root / "train/cat/\udce9.png").write_text("no image")
    # A sentence can be printed all the same.
    refused("folder", root, r"caf\udce9", r"\udce9.png' is named as an image and holds none")


FAULTS = {
    "rm -r train": "/train' is missing",
    "rm -r test/*": "/test' has no class folders",
    "mv train/dog train/cow": "/train' and not in",
    "rm -r train/dog": "/test' and not in",
    "rm -r */dog": "only one class, 'cat'",
    "rm test/dog/*": "/test/dog' holds no image",
    "mkdir test/dog/4.png": "/test/dog/4.png' is named as an image and is no file",
    "echo cat > train/dog/2.png": "/train/dog/2.png' is named as an image and holds none",
    "truncate -s -30 train/dog/2.png": "/train/dog/2.png' cannot be read",
    "mv taller.png train/dog/1.png": "/train/dog/1.png' is 6 x 4",
}


@pytest.mark.parametrize(("fault", "told"), FAULTS.items())
def test_a_faulty_image_folder_is_refused(fault, told, tmp_path):
    write_images(tmp_path, grays=6)
    Image.fromarray(np.zeros((6, 4), np.uint8)).save(tmp_path / "taller.png")
    subprocess.run(fault, shell=True, cwd=tmp_path, check=True)
    refused("folder", tmp_path, told)
