"""The configured optimizer with its learning-rate schedule."""

from __future__ import annotations

from typing import Any

import keras

from modules.train_settings import TrainSettings


def optimizer(settings: TrainSettings, learning_rate: float, steps_per_epoch: int, epochs: int) -> Any:
    """The optimizer of one phase of training.

    Args:
      settings: which optimizer and schedule.
      learning_rate: rate at the start, or at the end of the warm-up.
      steps_per_epoch: training steps an epoch.
      epochs: epochs that the schedule spans.

    Returns:
      A `keras.optimizers.Optimizer`; its schedule, if any, counts batches, also where gradients of several
      are accumulated.
    """
    options: dict[str, Any] = {
        "learning_rate": schedule(settings, learning_rate, steps_per_epoch, epochs),
        # One norm over all gradients keeps their direction; Keras' `clipnorm` would clip each variable.
        "global_clipnorm": settings.clip_norm,
        "clipvalue": settings.clip_value,
        "gradient_accumulation_steps": settings.accumulate if settings.accumulate > 1 else None,
    }
    if settings.weight_decay is not None:
        options["weight_decay"] = settings.weight_decay
    if settings.momentum is not None:
        options["momentum"] = settings.momentum
    if settings.nesterov:
        options["nesterov"] = True
    if settings.ema is not None:
        options |= {"use_ema": True, "ema_momentum": settings.ema}
    return keras.optimizers.get({"class_name": settings.optimizer, "config": options})


def schedule(settings: TrainSettings, learning_rate: float, steps_per_epoch: int, epochs: int) -> Any:
    """The rate as Keras takes it: a number, or a schedule over steps.

    Sources: Loshchilov and Hutter, "SGDR", 2017, for the cosine; Goyal et al., "Accurate, Large Minibatch
    SGD", 2017, for the linear warm-up.
    """
    chosen = settings.schedule
    warmup = round(chosen.warmup_epochs * steps_per_epoch)
    if chosen.kind == "constant":
        rate: Any = learning_rate
    elif chosen.kind == "cosine":
        rate = keras.optimizers.schedules.CosineDecay(
            learning_rate, max(1, epochs * steps_per_epoch - warmup), alpha=chosen.final_rate
        )
    else:
        rate = keras.optimizers.schedules.ExponentialDecay(
            learning_rate,
            decay_steps=max(1, round(chosen.every_epochs * steps_per_epoch)),
            decay_rate=chosen.factor,
            staircase=chosen.kind == "step",
        )
    return WarmUp(rate, warmup) if warmup else rate


@keras.saving.register_keras_serializable("imagemill")
class WarmUp(keras.optimizers.schedules.LearningRateSchedule):
    """A linear rise to the start of another schedule, which then begins."""

    def __init__(self, after: Any, steps: int):
        """Wraps a schedule.

        Args:
          after: a rate, or a schedule over steps, which follows.
          steps: length of the rise.
        """
        self.after = after
        self.steps = steps

    def __call__(self, step: Any) -> Any:
        step = keras.ops.cast(step, "float32")
        later = keras.ops.maximum(step - self.steps, 0.0)
        rate = self.after(later) if callable(self.after) else self.after
        return rate * keras.ops.minimum((step + 1) / self.steps, 1.0)

    def get_config(self) -> dict[str, Any]:
        after = keras.saving.serialize_keras_object(self.after) if callable(self.after) else self.after
        return {"after": after, "steps": self.steps}

    @classmethod
    def from_config(cls, config: dict[str, Any]) -> WarmUp:
        after = config["after"]
        after = keras.saving.deserialize_keras_object(after) if isinstance(after, dict) else after
        return cls(after, config["steps"])
