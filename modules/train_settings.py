"""Typed settings of training: loss, optimizer, schedule, callbacks, precision, devices."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, model_validator

from modules.base_settings import Settings

OptimizerName = Literal[
    "sgd", "adagrad", "adadelta", "rmsprop", "adam", "adamw", "adamax", "nadam", "ftrl", "lion"
]
LossName = Literal[
    "auto", "binary_crossentropy", "sparse_categorical_crossentropy", "categorical_crossentropy"
]
#: Metrics of an epoch.
Monitor = Literal["val_accuracy", "val_loss", "accuracy", "loss"]
Fraction = Annotated[float, Field(ge=0, lt=1)]


class ScheduleSettings(Settings):
    """How the learning rate moves from step to step."""

    kind: Literal["constant", "cosine", "step", "exponential"] = Field(
        "constant",
        description=(
            "`cosine`: from `train.learning_rate` down to `final_rate` times it at the last step. `step`: "
            "times `factor` every `every_epochs`. `exponential`: the same, but smoothly."
        ),
    )
    warmup_epochs: float = Field(
        0, ge=0, description="Epochs over which the rate first rises linearly from near zero."
    )
    final_rate: float = Field(0.0, ge=0, le=1, description="Of `cosine`: share of the rate that is left.")
    factor: float = Field(0.1, gt=0, lt=1, description="Of `step` and `exponential`.")
    every_epochs: float = Field(10, gt=0, description="Of `step` and `exponential`.")


class ReduceOnPlateauSettings(Settings):
    """Lower the learning rate when a metric no longer improves."""

    monitor: Monitor = Field("val_loss", description="Metric to watch.")
    factor: float = Field(0.2, gt=0, lt=1, description="The rate is multiplied by this.")
    patience: int = Field(3, ge=1, description="Epochs without improvement before that.")
    min_delta: float = Field(1e-4, ge=0, description="A smaller change is no improvement.")
    cooldown: int = Field(0, ge=0, description="Epochs to wait after a reduction.")
    min_learning_rate: float = Field(0.0, ge=0, description="The rate never goes below.")


class EarlyStoppingSettings(Settings):
    """Stop when a metric no longer improves; the best weights are kept by `train.keep_best`."""

    monitor: Monitor = Field("val_loss", description="Metric to watch.")
    patience: int = Field(5, ge=1, description="Epochs without improvement.")
    min_delta: float = Field(0.0, ge=0, description="A smaller change is no improvement.")
    start_from_epoch: int = Field(0, ge=0, description="Epochs before watching begins.")


class CheckpointSettings(Settings):
    """Keep the Keras model of epochs, each in a file named after its epoch and metric."""

    monitor: Monitor = Field("val_accuracy", description="Metric that says which epoch is better.")
    every_epoch: bool = Field(False, description="Keep every epoch, not only those that are the best so far.")
    keep: int = Field(3, ge=1, description="Files that are kept, the latest ones.")


class TensorBoardSettings(Settings):
    """Write event files for TensorBoard."""

    histogram_epochs: int = Field(0, ge=0, description="Weight histograms every so many epochs; 0 for none.")


class TrainSettings(Settings):
    """How the network is trained."""

    epochs: int = Field(10, ge=1, description="Passes over the training split.")
    batch_size: int = Field(32, ge=1, description="Images a training step, on each device.")
    seed: int = Field(
        0, ge=0, description="Seed of initial weights, order of the images, dropout and augmentation."
    )

    loss: LossName = Field(
        "auto",
        description=(
            "`auto`: `binary_crossentropy` for a sigmoid head; else `sparse_categorical_crossentropy`, or "
            "`categorical_crossentropy` where labels are smoothed or mixed."
        ),
    )
    label_smoothing: Fraction = Field(0.0, description="Share of a label that is spread over all classes.")
    loss_on: Literal["logits", "probabilities"] = Field(
        "logits", description="What the loss is computed from; `logits` is the one that never overflows."
    )
    class_weights: Literal["none", "balanced"] | dict[str, Annotated[float, Field(ge=0)]] = Field(
        "none",
        description=(
            "`balanced`: inversely to the number of images a class. A table gives the weights by class name; "
            "a class that is missing weighs 1."
        ),
    )

    optimizer: OptimizerName = Field("adam", description="Optimizer of Keras, with Keras' defaults.")
    learning_rate: float = Field(1e-3, gt=0, description="Learning rate, on each device.")
    momentum: Fraction | None = Field(None, description="Of `sgd` (default 0) and `rmsprop` (default 0).")
    nesterov: bool = Field(False, description="Nesterov momentum, of `sgd`.")
    weight_decay: float | None = Field(
        None, ge=0, description="Decoupled weight decay; none is the optimizer's own default."
    )
    clip_norm: float | None = Field(None, gt=0, description="Limit on the norm of all gradients together.")
    clip_value: float | None = Field(None, gt=0, description="Limit on each element of a gradient.")
    accumulate: int = Field(1, ge=1, description="Steps whose gradients make one move of the weights.")
    ema: Annotated[float, Field(gt=0, lt=1)] | None = Field(
        None,
        description=(
            "Momentum of an exponential moving average of the weights, such as 0.999; it is what is "
            "validated, kept and served."
        ),
    )
    schedule: ScheduleSettings = Field(default_factory=ScheduleSettings)
    learning_rate_at: dict[Annotated[int, Field(ge=1)], Annotated[float, Field(gt=0)]] = Field(
        default_factory=dict,
        description="Rates from an epoch (from 1) on, such as {10: 1e-4, 20: 1e-5}; instead of a schedule.",
    )

    keep_best: bool = Field(
        True, description="Keep the weights of the epoch with the best `monitor`, not the last."
    )
    monitor: Literal["val_accuracy", "val_loss"] = Field(
        "val_accuracy", description="Metric that says which epoch is best; ties are decided by the other one."
    )
    early_stopping: EarlyStoppingSettings | None = Field(None, description="Stop early; off if absent.")
    reduce_on_plateau: ReduceOnPlateauSettings | None = Field(
        None, description="Lower the rate on a plateau; off if absent, and not beside a schedule."
    )
    checkpoint: CheckpointSettings | None = Field(None, description="Keep models of epochs; off if absent.")
    tensorboard: TensorBoardSettings | None = Field(None, description="Write event files; off if absent.")
    resume: bool = Field(
        True, description="Save the state of training every epoch, and go on from it after an interruption."
    )

    precision: Literal["float32", "bfloat16", "float16"] = Field(
        "float32",
        description=(
            "What the network computes in while it is trained; variables stay float32, `float16` comes with "
            "loss scaling, and the served model computes in float32."
        ),
    )
    xla: bool = Field(False, description="Compile the training step with XLA.")
    devices: Literal["auto", "cpu", "gpu", "gpus", "workers"] = Field(
        "auto",
        description=(
            "`auto`: a GPU if there is one, else the CPU. `gpu`: one. `gpus`: all of this machine. "
            "`workers`: all machines that the environment variable TF_CONFIG lists."
        ),
    )
    cache_memory_mb: int = Field(
        4096,
        ge=0,
        description=(
            "Decoded images up to this many MiB are kept in memory, beyond it in a temporary file (TMPDIR) "
            "that is read through the page cache."
        ),
    )

    @model_validator(mode="after")
    def _fits_together(self) -> TrainSettings:
        moving = self.schedule.kind != "constant" or self.schedule.warmup_epochs > 0
        ways = {
            "schedule": moving,
            "learning_rate_at": bool(self.learning_rate_at),
            "reduce_on_plateau": self.reduce_on_plateau is not None,
        }
        if sum(ways.values()) > 1:
            raise ValueError(f"only one of {', '.join(ways)} can move the learning rate")
        if self.momentum is not None and self.optimizer not in ("sgd", "rmsprop"):
            raise ValueError(f"momentum is an option of sgd and rmsprop, not of {self.optimizer}")
        if self.nesterov and (self.optimizer != "sgd" or not self.momentum):
            raise ValueError("nesterov needs the optimizer sgd with a momentum")
        if self.clip_norm is not None and self.clip_value is not None:
            raise ValueError("clip_norm and clip_value exclude each other")
        if self.loss == "sparse_categorical_crossentropy" and self.label_smoothing:
            raise ValueError("label_smoothing needs the loss categorical_crossentropy (or auto)")
        if self.schedule.kind == "cosine" and self.schedule.warmup_epochs >= self.epochs:
            raise ValueError("schedule.warmup_epochs must be less than epochs")
        return self
