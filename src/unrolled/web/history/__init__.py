"""The history of prompts and samples: file, rows, pages and exports."""
