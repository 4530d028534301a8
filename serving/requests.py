"""Cuts a stream of images into requests that stay within the bounds, for both clients."""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field

from serving.calls import Prediction
from serving.errors import BadImage
from serving.images import Colour, ImageInput, encode, source_name


@dataclass(frozen=True)
class Bounds:
    """What a request may hold.

    Attributes:
      batch_size: images.
      max_bytes: of all its images together; one larger image is refused.
      max_pixels: of each image.
      background: colour behind transparent images.
    """

    batch_size: int
    max_bytes: int
    max_pixels: int
    background: Colour

    def __post_init__(self) -> None:
        if self.batch_size < 1:
            raise ValueError(f"batch_size is at least 1. Received: {self.batch_size}")


@dataclass
class Batch:
    """Images of one request, with those between them that cannot be sent."""

    items: list[tuple[str, bytes | BadImage]] = field(default_factory=list)
    size: int = 0

    def add(self, source: str, item: bytes | BadImage) -> None:
        self.items.append((source, item))
        self.size += len(item) if isinstance(item, bytes) else 0

    def sources(self) -> list[str]:
        return [source for source, item in self.items if isinstance(item, bytes)]

    def encoded(self) -> list[bytes]:
        return [item for _, item in self.items if isinstance(item, bytes)]

    def merge(self, answers: Sequence[Prediction | BadImage]) -> list[Prediction | BadImage]:
        """The answers to what was sent, with the errors of what was not, in the order of the images."""
        good = iter(answers)
        return [item if isinstance(item, BadImage) else next(good) for _, item in self.items]


def prepare(image: ImageInput, source: str, bounds: Bounds) -> bytes | BadImage:
    """The bytes to send for an image, or why it cannot be sent."""
    try:
        encoded = encode(image, source, bounds.max_pixels, bounds.background)
    except BadImage as error:
        return error
    if len(encoded) > bounds.max_bytes:
        return BadImage(
            source, f"{len(encoded):,} bytes are more than max_request_bytes = {bounds.max_bytes:,}"
        )
    return encoded


def batches(images: Iterable[ImageInput], bounds: Bounds) -> Iterator[Batch]:
    """Batches of the images in their order, each as large as the bounds allow."""
    batch = Batch()
    for index, image in enumerate(images):
        source = source_name(image, f"<image {index}>")
        item = prepare(image, source, bounds)
        cost = len(item) if isinstance(item, bytes) else 0
        if batch.items and (len(batch.items) >= bounds.batch_size or batch.size + cost > bounds.max_bytes):
            yield batch
            batch = Batch()
        batch.add(source, item)
    if batch.items:
        yield batch
