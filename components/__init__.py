"""The TFX components that TFX lacks, a folder each."""
