"""Serving without a web framework: models that are loaded and unloaded, slots, and generation sessions."""
