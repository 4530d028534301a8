"""What one would write instead of a pipeline: a folder of images, Keras' own loader, the same network.

    python -m benchmarks.plain_keras FOLDER EPOCHS TARGET

The folder holds `train` and `test`. It trains, evaluates, exports, and prints the seconds of each as JSON; no
checks of the data, no statistics, no split that stays, no comparison, no validation of what is served.
"""

from __future__ import annotations

import json
import sys
import time


def main(folder: str, epochs: str, target: str) -> None:
    """Runs it all."""
    began = time.perf_counter()
    import keras
    from keras import layers

    keras.utils.set_random_seed(0)
    options = {"image_size": (28, 28), "color_mode": "grayscale", "batch_size": 32}
    train, validation = keras.utils.image_dataset_from_directory(
        f"{folder}/train", validation_split=0.0526, subset="both", seed=0, verbose=False, **options
    )
    test = keras.utils.image_dataset_from_directory(f"{folder}/test", shuffle=False, verbose=False, **options)
    train, validation = train.cache().prefetch(2), validation.cache().prefetch(2)
    network = keras.Sequential(
        [
            layers.Input((28, 28, 1)),
            layers.Rescaling(1 / 255),
            layers.Conv2D(32, 3, padding="same", activation="relu"),
            layers.MaxPooling2D(2),
            layers.Conv2D(64, 3, padding="same", activation="relu"),
            layers.MaxPooling2D(2),
            layers.Flatten(),
            layers.Dense(100, activation="relu"),
            layers.Dropout(0.4),
            layers.Dense(10),
        ]
    )
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    network.compile(keras.optimizers.Adam(0.001), loss=loss, metrics=["accuracy"])
    ends: list[float] = []

    class Clock(keras.callbacks.Callback):
        def on_epoch_end(self, epoch: int, logs: dict | None = None) -> None:
            ends.append(time.perf_counter() - began)

    started = time.perf_counter() - began
    network.fit(train, validation_data=validation, epochs=int(epochs), verbose=0, callbacks=[Clock()])
    _, accuracy = network.evaluate(test, verbose=0)
    network.export(target, verbose=False)
    seconds = time.perf_counter() - began
    print(json.dumps({"seconds": seconds, "start": started, "epochs": ends, "accuracy": accuracy}))


if __name__ == "__main__":
    main(*sys.argv[1:])
