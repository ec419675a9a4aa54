"""Build the compiled core, through Cython: ordinary ``.py`` modules with a ``.pxd`` beside them, and ``.pyx`` on Linux.

``SQLPROXY_SKIP_EXT=1`` builds none; ``SQLPROXY_REQUIRE_EXT=1`` turns a failed build into an error.
"""

import os
import sys
from pathlib import Path

from setuptools import Extension, setup
from setuptools.command.build_ext import build_ext

REQUIRED = os.environ.get("SQLPROXY_REQUIRE_EXT") == "1"
SKIPPED = os.environ.get("SQLPROXY_SKIP_EXT") == "1"


class OptionalBuildExt(build_ext):
    """Fall back to the pure modules, loudly, when the compiler is missing."""

    def finalize_options(self) -> None:
        super().finalize_options()
        self.parallel = self.parallel or os.cpu_count() or 1

    def run(self) -> None:
        try:
            super().run()
        except Exception as error:
            self._fall_back(error)

    def build_extension(self, ext: Extension) -> None:
        try:
            super().build_extension(ext)
        except Exception as error:
            self._fall_back(error)

    def _fall_back(self, error: Exception) -> None:
        if REQUIRED:
            raise error
        print(f"WARNING: the compiled core was not built ({error}); pure Python is used", file=sys.stderr)


def extensions() -> list[Extension]:
    """Every module that has a ``.pxd`` beside its ``.py``, and what exists only compiled."""
    if SKIPPED:
        return []
    try:
        from Cython.Build import cythonize
    except ImportError as error:
        if REQUIRED:
            raise
        print(f"WARNING: no Cython ({error}); pure Python is used", file=sys.stderr)
        return []
    modules = [
        Extension(str(path.with_suffix("")).replace("/", "."), [str(path.with_suffix(".py"))])
        for path in sorted(Path("sqlproxy").rglob("*.pxd"))
        if path.with_suffix(".py").exists()
    ]
    if sys.platform == "linux":
        modules += [
            Extension(str(path.with_suffix("")).replace("/", "."), [str(path)])
            for path in sorted(Path("sqlproxy").rglob("*.pyx"))
        ]
    return cythonize(
        modules,
        nthreads=os.cpu_count() or 1,
        build_dir="build/cython",  # out of the packages, whose every C file would be shipped
        compiler_directives={
            "language_level": 3,
            "boundscheck": True,
            "wraparound": False,
            "initializedcheck": False,
            "cdivision": True,
            "annotation_typing": False,
        },
    )


setup(ext_modules=extensions(), cmdclass={"build_ext": OptionalBuildExt})
