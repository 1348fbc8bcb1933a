"""Dreams and feature visualizations from a trained image network."""

__version__ = "0.1.0"
