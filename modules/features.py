"""Names of the features of an ingested Example and of the splits: written once, imported everywhere.

Every Example holds one image. Types as in the TFX schema:

| feature | type | meaning |
| --- | --- | --- |
| `image/encoded` | bytes | an encoded image that `modules.preprocessing` decodes as Pillow shows it |
| `image/label` | bytes | class name, UTF-8 |
| `image/filename` | bytes | path relative to the data folder, UTF-8, `/` between parts |
| `image/sha256` | bytes | hexadecimal SHA-256 of the file as it lay on disk |
| `image/format` | bytes | format of that file by its content: `JPEG`, `PNG`, ... |
| `image/height`, `image/width` | int64 | pixels, after EXIF orientation |
| `image/channels` | int64 | 1 for grey, 3 for colour |
| `image/bytes` | int64 | size of that file |
| `image/aspect` | float | width / height |
| `image/brightness` | float | mean of the grey image, 0 to 1 |
| `image/contrast` | float | standard deviation of the grey image, 0 to 0.5 |
| `image/sharpness` | float | mean absolute difference of neighbouring grey pixels, 0 to 1 |
"""

IMAGE = "image/encoded"
LABEL = "image/label"
FILENAME = "image/filename"
SHA256 = "image/sha256"
FORMAT = "image/format"
HEIGHT = "image/height"
WIDTH = "image/width"
CHANNELS = "image/channels"
BYTES = "image/bytes"
ASPECT = "image/aspect"
BRIGHTNESS = "image/brightness"
CONTRAST = "image/contrast"
SHARPNESS = "image/sharpness"

#: What the statistics, the schema and the data gate look at: everything cheap that says something.
DESCRIPTIVE: dict[str, type] = {
    LABEL: bytes,
    FORMAT: bytes,
    HEIGHT: int,
    WIDTH: int,
    CHANNELS: int,
    BYTES: int,
    ASPECT: float,
    BRIGHTNESS: float,
    CONTRAST: float,
    SHARPNESS: float,
}

TRAIN = "train"
VALIDATION = "validation"
TEST = "test"
SPLITS = (TRAIN, VALIDATION, TEST)
