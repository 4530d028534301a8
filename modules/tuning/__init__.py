"""Tuning: search spaces, oracles within a budget, and trials that are trainings like any other."""
