"""Checkpoints from elsewhere, in: opened without trust, recognised by their tensors, made ordinary runs.

The only room in which a pickle is ever opened, and there only tensors and plain containers come out.
"""

from unrolled.importers.checkpoint_to_run import Imported, import_checkpoint, temporary_run
from unrolled.importers.search import holds_only_foreign_files

__all__ = ["Imported", "holds_only_foreign_files", "import_checkpoint", "temporary_run"]
