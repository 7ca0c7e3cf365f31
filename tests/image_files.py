"""Image files of every kind, each with what a viewer sees of it on a white page."""

import io
import struct
import zlib
from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
from PIL import Image

Generator = np.random.Generator


class Picture(NamedTuple):
    """A file, and what is seen of it: uint8 (height, width, 3); None where it has more than 8 bits a channel.

    tolerance: how far a viewer may be from that, in levels of 255.
    """

    suffix: str
    content: bytes
    seen: np.ndarray | None
    tolerance: int = 1


UPRIGHT: dict[int, Callable[[np.ndarray], np.ndarray]] = {
    1: lambda stored: stored,
    2: lambda stored: stored[:, ::-1],
    3: lambda stored: stored[::-1, ::-1],
    4: lambda stored: stored[::-1],
    5: lambda stored: stored.swapaxes(0, 1),
    6: lambda stored: np.rot90(stored, -1),
    7: lambda stored: stored[::-1, ::-1].swapaxes(0, 1),
    8: lambda stored: np.rot90(stored),
}
"""What a viewer makes of the stored pixels, by EXIF's number for the orientation."""


def stored_shape(orientation: int, shape: tuple[int, int]) -> tuple[int, int]:
    return shape if orientation < 5 else (shape[1], shape[0])


def oriented(orientation: int) -> Image.Exif:
    tags = Image.Exif()
    tags[0x0112] = orientation
    return tags


def on_white(colours: np.ndarray, alpha: np.ndarray) -> np.ndarray:
    """Colours (..., channels) and alpha (...), each 0 to 1, as uint8 (..., 3)."""
    opaque = alpha[..., None]
    seen = np.rint(255 * (colours * opaque + 1 - opaque)).astype(np.uint8)
    return np.broadcast_to(seen, (*seen.shape[:2], 3))


GRAY, RGB, PALETTE, GRAY_ALPHA, RGBA = 0, 2, 3, 4, 6
"""PNG's colour types."""

SAMPLES = {GRAY: 1, RGB: 3, PALETTE: 1, GRAY_ALPHA: 2, RGBA: 4}


def png(
    generator: Generator, shape: tuple[int, int], colour: int, depth: int, keyed: bool, orientation: int
) -> Picture:
    """Random samples of any colour type and bit depth that PNG has, which Pillow cannot write.

    keyed: with a tRNS chunk: one transparent colour, or the alpha of a palette.
    """
    height, width = stored_shape(orientation, shape)
    samples = generator.integers(0, 2**depth, (height, width, SAMPLES[colour]))
    chunks, greatest = [], 2**depth - 1
    colours, alpha = samples / greatest, np.ones((height, width))
    if colour in (GRAY_ALPHA, RGBA):
        colours, alpha = colours[..., :-1], colours[..., -1]
    elif colour == PALETTE:
        palette, clear = generator.integers(0, 256, (2**depth, 3)), generator.integers(0, 256, 2**depth)
        chunks = [(b"PLTE", palette.astype(np.uint8).tobytes())]
        colours = palette[samples[..., 0]] / 255
        if keyed:
            chunks, alpha = [*chunks, (b"tRNS", clear.astype(np.uint8).tobytes())], clear[samples[..., 0]] / 255
    elif keyed:
        key = samples[generator.integers(height), generator.integers(width)]
        chunks, alpha = [(b"tRNS", key.astype(">u2").tobytes())], 1.0 - (samples == key).all(axis=-1)
    if orientation > 1:
        chunks = [(b"eXIf", oriented(orientation).tobytes().removeprefix(b"Exif\0\0")), *chunks]
    bits = samples.reshape(height, -1, 1) >> np.arange(depth)[::-1] & 1
    rows = b"".join(b"\0" + np.packbits(row).tobytes() for row in bits.astype(np.uint8))
    header = struct.pack(">IIBBBBB", width, height, depth, colour, 0, 0, 0)
    content = b"\x89PNG\r\n\x1a\n"
    for kind, body in [(b"IHDR", header), *chunks, (b"IDAT", zlib.compress(rows)), (b"IEND", b"")]:
        content += struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))
    seen = None if depth == 16 else UPRIGHT[orientation](on_white(colours, alpha))
    return Picture(".png", content, seen)


def by_pillow(generator: Generator, shape: tuple[int, int], mode: str, form: str, orientation: int = 1) -> Picture:
    """A smooth picture of one of Pillow's modes in one of its formats; what is seen is what Pillow says is stored."""
    stored = stored_shape(orientation, shape)
    corners = generator.integers(0, 256, (2, 2, Image.getmodebands(mode)), np.uint8)
    bands = [Image.fromarray(corners[..., band]).resize(stored[::-1]) for band in range(corners.shape[2])]
    picture = Image.merge(mode, bands) if len(bands) > 1 else bands[0].convert(mode)
    file, tags = io.BytesIO(), {} if orientation == 1 else {"exif": oriented(orientation)}
    options: dict[str, Any] = {"JPEG": {"quality": 95}, "WEBP": {"lossless": True, "exact": True}}.get(form, {})
    picture.save(file, form, **options, **tags)
    with Image.open(io.BytesIO(file.getvalue())) as opened:
        pixels = np.asarray(opened.convert("RGBA"), float) / 255
    seen = UPRIGHT[orientation](on_white(pixels[..., :3], pixels[..., 3]))
    # Decoders of JPEG round in other places, and more so where there is black ink beside three colours.
    suffix, tolerance = (".jpg", 4) if form == "JPEG" else (".png", 1)
    return Picture(suffix, file.getvalue(), seen, tolerance)


def kinds() -> dict[str, Callable[[Generator, tuple[int, int]], Picture]]:
    """By name, all that is tried: a function of a generator and the height and width that are seen."""
    found: dict[str, Callable[[Generator, tuple[int, int]], Picture]] = {}

    def add(name: str, write: Callable, *arguments: Any) -> None:
        found[name] = lambda generator, shape: write(generator, shape, *arguments)

    names = {GRAY: "gray", RGB: "RGB", PALETTE: "palette", GRAY_ALPHA: "gray and alpha", RGBA: "RGBA"}
    depths = {GRAY: (1, 2, 4, 8, 16), RGB: (8, 16), PALETTE: (1, 2, 4, 8), GRAY_ALPHA: (8, 16), RGBA: (8, 16)}
    for colour, name in names.items():
        for depth in depths[colour]:
            for keyed in (False, True)[: 1 if colour in (GRAY_ALPHA, RGBA) else 2]:
                transparent = ", transparent" if keyed else ""
                add(f"PNG {name} of {depth} bits{transparent}", png, colour, depth, keyed, 1)
    for orientation in range(2, 9):
        add(f"PNG turned as {orientation}", png, GRAY, 8, False, orientation)
        add(f"JPEG turned as {orientation}", by_pillow, "RGB", "JPEG", orientation)
    for mode in ("L", "RGB", "CMYK"):
        add(f"JPEG {mode}", by_pillow, mode, "JPEG")
    for mode, form in (("RGB", "GIF"), ("L", "GIF"), ("RGB", "BMP"), ("RGB", "WEBP"), ("RGBA", "WEBP")):
        add(f"{form} {mode} that is named .png", by_pillow, mode, form)
    return found


KINDS = kinds()
