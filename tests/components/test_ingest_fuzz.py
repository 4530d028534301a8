"""2,000 mutated images: each is refused by name, or decodes in TensorFlow to what was inspected."""

from __future__ import annotations

import random
import zlib
from collections import Counter

import numpy as np
import tensorflow as tf
from ingest_corpus import CORPUS, KEPT, REENCODED
from ingest_samples import grey_of, memory, opened

from components.image_example_gen import images
from components.image_example_gen.settings import IngestSettings
from modules import pixels

MUTANTS = 2_000
BOUNDS = images.Bounds.of(IngestSettings(max_pixels=4_000_000))
GOOD = [odd.data for odd in CORPUS if odd.fate in (KEPT, REENCODED)]


def mutate(rng: random.Random) -> bytes:
    """A good file with some of its bytes flipped, overwritten, cut, repeated, or another's spliced in."""
    data = bytearray(rng.choice(GOOD))
    for _ in range(rng.choice((1, 1, 1, 2, 4))):
        size = len(data)
        # Half of the damage goes into the first bytes, where headers are.
        at = rng.randrange(min(size, 64)) if rng.random() < 0.5 else rng.randrange(size)
        match rng.randrange(7):
            case 0:
                data[at] ^= 1 << rng.randrange(8)
            case 1:
                for position in range(at, min(size, at + rng.randrange(1, 20))):
                    data[position] = rng.randrange(256)
            case 2:
                data[at : at + 4] = rng.choice(
                    (b"\0\0\0\0", b"\xff\xff\xff\xff", b"\x7f\xff\xff\xff", b"\0\0\x0f\xa0")
                )
            case 3:
                del data[max(at, 12) :]
            case 4:
                del data[at : at + rng.randrange(1, 40)]
            case 5:
                data[at:at] = data[at : at + rng.randrange(1, 200)]
            case 6:
                other = rng.choice(GOOD)
                data[at:] = other[rng.randrange(len(other)) :]
        if len(data) < 2:
            break
    return mend_checksums(bytes(data)) if rng.random() < 0.5 else bytes(data)


def mend_checksums(data: bytes) -> bytes:
    """The same, with right checksums where it is still a PNG: damage that nothing but decoding can find."""
    if not data.startswith(b"\x89PNG\r\n\x1a\n"):
        return data
    mended, offset = bytearray(data), 8
    while offset + 12 <= len(data):
        end = offset + 8 + int.from_bytes(data[offset : offset + 4], "big")
        if end + 4 > len(data):
            break
        mended[end : end + 4] = zlib.crc32(data[offset + 4 : end]).to_bytes(4, "big")
        offset = end + 4
    return bytes(mended)


def test_mutants_are_refused_or_decode_alike_everywhere() -> None:
    rng = random.Random(20)
    fates: Counter[str] = Counter()
    before = memory(reset=True)
    for number in range(MUTANTS):
        data = mutate(rng)
        try:
            decoded = images.decode(data, BOUNDS)
        except images.ImageRefusedError as refusal:
            assert refusal.reason in images.REASONS
            fates[refusal.reason] += 1
            continue
        fates["accepted"] += 1
        trained_on = pixels.decode(tf.constant(decoded.encoded), 3).numpy()
        assert trained_on.shape == (decoded.height, decoded.width, 3), number
        shown = np.asarray(opened(decoded.encoded).convert("RGB"))
        np.testing.assert_array_equal(trained_on, shown, err_msg=f"mutant {number}")
        np.testing.assert_array_equal(decoded.grey, grey_of(decoded), err_msg=f"mutant {number}")
    # The seed is fixed: enough mutants must get past the first look for the test to mean something.
    assert fates["accepted"] > MUTANTS / 10
    assert fates["truncated"] > 50 and fates["corrupt"] > 50
    grown = memory() - before
    assert grown < 300_000, f"{grown} kB more memory"
