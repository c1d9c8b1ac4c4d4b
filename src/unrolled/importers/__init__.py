"""Checkpoints from elsewhere, in: opened without trust, recognised by their tensors, made ordinary runs.

The only room that reads pickles. Its reader returns tensors and plain containers and executes nothing.
"""

from unrolled.importers.checkpoint_to_run import Imported, import_checkpoint, temporary_run
from unrolled.importers.search import holds_only_foreign_files

__all__ = ["Imported", "holds_only_foreign_files", "import_checkpoint", "temporary_run"]
