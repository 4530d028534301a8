"""The gate between data validation and training: no anomaly passes."""
