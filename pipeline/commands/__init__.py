"""The commands of `imagemill`, a file for each kind; `pipeline.cli` puts them together."""
