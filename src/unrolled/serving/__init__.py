"""Serving without a web framework: loading and unloading models, generation slots, and generation sessions."""
