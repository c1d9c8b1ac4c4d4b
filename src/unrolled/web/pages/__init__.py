"""The page: its fields, the reading of its form, and what it shows."""
