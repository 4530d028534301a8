"""What TFMA computes on the test split, and the thresholds that make a blessing."""

from __future__ import annotations

import tensorflow_model_analysis as tfma

from modules import export, preprocessing
from pipeline.config import EvaluateSettings


def eval_config(settings: EvaluateSettings) -> tfma.EvalConfig:
    """Accuracy and loss of the candidate and of the model in production, with the limits on accuracy.

    The limit against the model in production is ignored by TFX as long as there is none.
    """
    # A difference of exactly the allowed regression must pass whatever the last bit of a float says.
    change = -settings.max_regression - 1e-9
    accuracy = tfma.MetricConfig(
        class_name="SparseCategoricalAccuracy",
        config='"name": "accuracy"',
        threshold=tfma.MetricThreshold(
            value_threshold=tfma.GenericValueThreshold(lower_bound={"value": settings.min_accuracy}),
            change_threshold=tfma.GenericChangeThreshold(
                direction=tfma.MetricDirection.HIGHER_IS_BETTER, absolute={"value": change}
            ),
        ),
    )
    return tfma.EvalConfig(
        model_specs=[
            tfma.ModelSpec(
                signature_name=export.SERVING_EXAMPLES,
                prediction_key="probabilities",
                label_key=preprocessing.CLASS_INDEX,
                preprocessing_function_names=[export.LABELS],
            )
        ],
        slicing_specs=[tfma.SlicingSpec()],
        metrics_specs=[
            tfma.MetricsSpec(
                metrics=[
                    accuracy,
                    tfma.MetricConfig(class_name="SparseCategoricalCrossentropy", config='"name": "loss"'),
                    tfma.MetricConfig(class_name="ExampleCount", config='"name": "example_count"'),
                ]
            )
        ],
    )
