"""Plots as functions: plain arrays in, a `matplotlib` Figure out. Nothing here reads a file."""
