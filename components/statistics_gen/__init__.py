"""TFX's StatisticsGen, without Beam where Beam would have one process."""
