"""Writes MNIST-like idx files as PNG class folders: `train/<class>/<number>.png` and `test/...`.

    python -m benchmarks.idx_to_folders FOLDER_OF_IDX_FILES TARGET [--names fashion]

The folder holds the four files under their usual names (`train-images-idx3-ubyte.gz`, ...); 70,000 files
take about 20 seconds. Format: Y. LeCun, C. Cortes, C. Burges, "The MNIST database of handwritten digits".
"""

from __future__ import annotations

import argparse
import gzip
import pathlib

import numpy as np
from PIL import Image

FASHION = (
    "t-shirt", "trouser", "pullover", "dress", "coat", "sandal", "shirt", "sneaker", "bag", "ankle-boot",
)  # fmt: skip


def read_idx(path: pathlib.Path) -> np.ndarray:
    """Reads one idx file.

    Returns:
      uint8 (n, height, width) for images, (n,) for labels.

    Raises:
      ValueError: when the magic number says that it is neither.
    """
    content = gzip.decompress(path.read_bytes())
    magic = int.from_bytes(content[:4], "big")
    if magic not in (0x801, 0x803):
        raise ValueError(f"{path}: no idx file of images or labels (magic number {magic:#x})")
    dimensions = magic & 0xFF
    shape = [int.from_bytes(content[4 + 4 * axis : 8 + 4 * axis], "big") for axis in range(dimensions)]
    return np.frombuffer(content, np.uint8, offset=4 + 4 * dimensions).reshape(shape)


def write(source: pathlib.Path, target: pathlib.Path, names: tuple[str, ...]) -> int:
    """Writes both splits; returns the number of images."""
    total = 0
    for split, prefix in (("train", "train"), ("test", "t10k")):
        images = read_idx(source / f"{prefix}-images-idx3-ubyte.gz")
        labels = read_idx(source / f"{prefix}-labels-idx1-ubyte.gz")
        for name in names:
            (target / split / name).mkdir(parents=True, exist_ok=True)
        for number, (image, label) in enumerate(zip(images, labels, strict=True)):
            Image.fromarray(image).save(target / split / names[label] / f"{number:05}.png")
        total += len(labels)
    return total


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("source", type=pathlib.Path)
    parser.add_argument("target", type=pathlib.Path)
    parser.add_argument("--names", choices=["digits", "fashion"], default="digits")
    arguments = parser.parse_args()
    names = FASHION if arguments.names == "fashion" else tuple(map(str, range(10)))
    print(f"{write(arguments.source, arguments.target, names):,} images in {arguments.target}")


if __name__ == "__main__":
    main()
