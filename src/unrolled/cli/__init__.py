"""The command line: one small file per command; heavy imports are inside the commands."""
