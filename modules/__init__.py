"""Code that TFX calls by import path, and what it shares: settings, feature names, progress, networks."""
