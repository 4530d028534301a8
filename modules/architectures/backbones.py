"""The backbones of `keras.applications`, and the preprocessing of each as layers."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import keras

#: Scaling of the pixels by backbone, in Keras' words. `caffe`: blue, green, red, less ImageNet's means.
#: `tf`: -1 to 1. `torch`: ImageNet's mean and deviation. `inside`: the backbone's own first layers do it.
#: Literal, since a configuration is checked without Keras; a test holds the names equal to those of Keras.
BACKBONES = {
    name: scaling
    for scaling, names in {
        "caffe": "ResNet50 ResNet101 ResNet152 VGG16 VGG19",
        "tf": (
            "InceptionResNetV2 InceptionV3 MobileNet MobileNetV2 NASNetLarge NASNetMobile "
            "ResNet50V2 ResNet101V2 ResNet152V2 Xception"
        ),
        "torch": "DenseNet121 DenseNet169 DenseNet201",
        "inside": (
            "ConvNeXtTiny ConvNeXtSmall ConvNeXtBase ConvNeXtLarge ConvNeXtXLarge "
            "EfficientNetB0 EfficientNetB1 EfficientNetB2 EfficientNetB3 "
            "EfficientNetB4 EfficientNetB5 EfficientNetB6 EfficientNetB7 "
            "EfficientNetV2B0 EfficientNetV2B1 EfficientNetV2B2 EfficientNetV2B3 "
            "EfficientNetV2S EfficientNetV2M EfficientNetV2L MobileNetV3Small MobileNetV3Large"
        ),
    }.items()
    for name in names.split()
}


def preprocess(pixels: keras.KerasTensor, backbone: str) -> keras.KerasTensor:
    """What the backbone expects for pixels of 0 to 255, float (batch, height, width, 3) in red, green, blue.

    Equal to `preprocess_input` of the backbone's module in `keras.applications`, but of layers, so that it is
    saved and served with the network. Float32 under every dtype policy: bfloat16 has 8 bits.
    """
    import keras

    mean, deviation = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
    scale, offset = {
        "caffe": (1.0, (-123.68, -116.779, -103.939)),
        "tf": (1 / 127.5, -1.0),
        "torch": (
            [1 / (255 * d) for d in deviation],
            [-m / d for m, d in zip(mean, deviation, strict=True)],
        ),
        "inside": (1.0, 0.0),
    }[BACKBONES[backbone]]
    scaled = keras.layers.Rescaling(scale, offset, dtype="float32", name="preprocessing")(pixels)
    return keras.ops.flip(scaled, axis=-1) if BACKBONES[backbone] == "caffe" else scaled
