"""TFX InfraValidator with the model served by a process on this machine."""
