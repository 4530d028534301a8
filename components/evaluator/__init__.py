"""TFX Evaluator whose blessing rests on paired tests, floors and limits, each stated with its value."""
