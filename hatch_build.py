"""Build hook: compile the native kernel where there is a C compiler, and go on without it where there is none."""

from __future__ import annotations

import importlib.util
import subprocess  # nosec B404 # commands are lists, without a shell
from pathlib import Path

from hatchling.builders.hooks.plugin.interface import BuildHookInterface


class NativeKernelHook(BuildHookInterface):
    """Put the compiled kernel into the wheel."""

    PLUGIN_NAME = "custom"

    def initialize(self, version: str, build_data: dict) -> None:
        """Compile before the files of a wheel are collected."""
        if self.target_name != "wheel":
            return
        folder = Path(self.root) / "src" / "unrolled" / "native"
        spec = importlib.util.spec_from_file_location("unrolled_native_build", folder / "build.py")
        build = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(build)
        try:
            libraries = build.build_variants(folder / "csrc", folder / "libraries")
        except (RuntimeError, OSError, subprocess.SubprocessError) as error:
            self.app.display_warning(f"unrolled is installed without its native kernel: {error}")
            return
        build_data["artifacts"] += [str(path.relative_to(self.root)) for path in libraries]
        build_data["pure_python"] = False
        build_data["tag"] = f"py3-none-{build.platform_tag()}"
