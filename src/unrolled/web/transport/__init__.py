"""Connections, the listening server and its threads: waitress with deadlines."""
