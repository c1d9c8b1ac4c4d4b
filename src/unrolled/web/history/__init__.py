"""The history of prompts and texts: its file, its rows, its pages and its exports."""
