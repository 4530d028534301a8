"""Ingest: a folder of images becomes splits of tf.Examples, and what cannot be learned from is listed.

This package imports nothing, so that `settings`, `source`, `images` and `report` stay light: only
`component`, `executor` and `driver` import TFX, only they and `steps` import Beam, none imports TensorFlow.
"""
