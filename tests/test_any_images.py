"""Whatever a folder of images holds, they are read as a viewer shows them, or refused in one sentence."""

import base64
import os
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from any_input import MANY, refusal_of, require_that_training_sees
from hypothesis import example, given, settings
from hypothesis import strategies as st
from image_files import KINDS, Picture

from cnn_constraints.arrays import Dataset
from cnn_constraints.data.datasets import build_dataset
from cnn_constraints.experiment import Data

pytestmark = pytest.mark.slow

SHAPE = (6, 4)

NARROW = [name for name, write in KINDS.items() if write(np.random.default_rng(0), SHAPE).seen is not None]
"""Kinds of at most 8 bits a channel."""

GRAY = [name for name in NARROW if "gray" in name or ("turned" in name and "PNG" in name)]

KEYED = "PNG gray of 4 bits, transparent"

NAMES = st.sampled_from(
    [b"1", b"a b", "ä漢🂡".encode(), b"caf\xe9", b"new\nline", b"-x", b"'", b"~", b"%s{}", b"a" * 200]
)

FAULTS: dict[str, Callable[[bytes, bytes], bytes]] = {
    "16 bits": lambda content, path: KINDS["PNG RGB of 16 bits"](np.random.default_rng(), SHAPE).content,
    "another size": lambda content, path: KINDS["PNG RGB of 8 bits"](np.random.default_rng(), (5, 4)).content,
    "empty": lambda content, path: b"",
    "no image": lambda content, path: b"no image" * 20,
    "cut in the middle": lambda content, path: content[: len(content) // 2],
    "cut in the header": lambda content, path: content[:20],
    "a link to nothing": lambda content, path: b"-> nothing",
    "a loop": lambda content, path: b"-> " + os.path.basename(path),
    "a folder": lambda content, path: b"/",
}
"""What makes of an image, by its content and path, something for which the folder is refused."""

PASSED_OVER = [
    b"notes.txt",
    b"Thumbs.db",
    b".hidden.png",
    b"1.webp",
    b"2.tiff",
    b"inner/1.png",
    b"png",
    b"..png",
    b".png",
]

Files = dict[bytes, str]
"""Kinds of images, by path; a file of no kind is passed over."""


@st.composite
def folders(draw: st.DrawFn) -> Files:
    """Two or three classes of a few images each, beside what is passed over."""
    kinds, files = st.sampled_from(draw(st.sampled_from([GRAY, NARROW]))), {}
    classes = draw(st.lists(NAMES, min_size=2, max_size=3, unique=True))
    for place in (split + b"/" + name + b"/" for split in (b"train", b"test") for name in classes):
        for name in draw(st.lists(NAMES, min_size=1, max_size=3, unique=True)):
            files[place + name + draw(st.sampled_from([b".png", b".jpg", b".JPEG", b".Png"]))] = draw(kinds)
        for name in draw(st.lists(st.sampled_from(PASSED_OVER), max_size=2, unique=True)):
            files[place + name] = "no image"
    return files


def pictures_of(files: Files, seed: int) -> dict[bytes, Picture]:
    generator = np.random.default_rng(seed)
    return {path: KINDS[kind](generator, SHAPE) for path, kind in files.items() if kind in KINDS}


def write(root: Path, files: Files, contents: dict[bytes, bytes]) -> None:
    """The folder anew, with exactly these files in it; contents: of those that are images."""
    shutil.rmtree(root, ignore_errors=True)
    for name in files:
        path, content = os.path.join(os.fsencode(root), name), contents.get(name, b"anything")
        os.makedirs(os.path.dirname(path), exist_ok=True)
        if content == b"/":
            os.mkdir(path)
        elif content.startswith(b"-> "):
            os.symlink(content[3:], path)
        else:
            with open(path, "wb") as file:
                file.write(content)


def as_text(name: str) -> str:
    """With the bytes that are no UTF-8 as they are printed."""
    return name.encode(errors="backslashreplace").decode()


def load(root: Path) -> Dataset:
    return build_dataset(Data(source="folder", folder=str(root)))


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("any") / "images"


SEEDS = st.integers(0, 2**32 - 1)


@example(files=dict.fromkeys([b"train/a/1.png", b"train/b/1.png", b"test/a/1.png", b"test/b/1.png"], KEYED), seed=0)
@settings(max_examples=MANY)
@given(files=folders(), seed=SEEDS)
def test_a_folder_is_read_as_a_viewer_shows_it(files, seed, root):
    pictures = pictures_of(files, seed)
    write(root, files, {path: picture.content for path, picture in pictures.items()})
    dataset = load(root)
    for split, name in ((dataset.train, b"train/"), (dataset.test, b"test/")):
        paths = sorted((path for path in pictures if path.startswith(name)), key=lambda path: Path(os.fsdecode(path)))
        names = [os.fsdecode(path.split(b"/")[1]) for path in paths]
        assert [dataset.classes[label] for label in split.labels] == [as_text(name) for name in names]
        for image, path in zip(split.images, paths, strict=True):
            seen, tolerance = pictures[path].seen, pictures[path].tolerance
            assert seen is not None and np.abs(image - seen.astype(int)).max() <= tolerance, (path, files[path])
    require_that_training_sees(dataset)


@settings(max_examples=MANY)
@given(files=folders(), seed=SEEDS, fault=st.sampled_from(sorted(FAULTS)), place=st.floats(0, 1, exclude_max=True))
def test_a_folder_with_a_faulty_image_is_refused_in_a_sentence(files, seed, fault, place, root):
    contents = {path: picture.content for path, picture in pictures_of(files, seed).items()}
    path = sorted(contents)[int(place * len(contents))]
    write(root, files, contents | {path: FAULTS[fault](contents[path], path)})
    assert refusal_of(lambda: load(root))


RENDER = """files => Promise.all(files.map(async file => {
    const image = new Image();
    image.src = "data:image/*;base64," + file;
    await image.decode();
    const canvas = document.createElement("canvas");
    [canvas.width, canvas.height] = [image.naturalWidth, image.naturalHeight];
    const page = canvas.getContext("2d");
    page.fillStyle = "white";
    page.fillRect(0, 0, canvas.width, canvas.height);
    page.drawImage(image, 0, 0);
    return [canvas.height, canvas.width, ...page.getImageData(0, 0, canvas.width, canvas.height).data];
}))"""


def test_a_browser_shows_what_is_taken_for_seen(browser, generator):
    pictures = {kind: KINDS[kind](generator, SHAPE) for kind in NARROW}
    tab = browser.new_page()
    shown = tab.evaluate(RENDER, [base64.b64encode(picture.content).decode() for picture in pictures.values()])
    for (kind, picture), (height, width, *pixels) in zip(pictures.items(), shown, strict=True):
        assert (height, width) == SHAPE and picture.seen is not None, kind
        differences = np.reshape(pixels, (*SHAPE, 4))[..., :3] - picture.seen.astype(int)
        assert np.abs(differences).max() <= picture.tolerance, kind
