"""TFX Tuner that goes on where a killed one was, and keeps a record of every trial."""
