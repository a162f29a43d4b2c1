"""Which extension modules there are, and how they are compiled. All else stands in pyproject.toml.

IOTWIRE_BUILD picks another kind of build than `release`; tools/build-copy.sh makes those, in copies of the tree.
"""

import os
from glob import glob

from Cython.Build import cythonize
from setuptools import Extension, setup
from setuptools.command.build_py import build_py

KIND = os.environ.get("IOTWIRE_BUILD", "release")
RELEASE_FLAGS = ["-DCYTHON_WITHOUT_ASSERTIONS", *([] if os.name == "nt" else ["-O3", "-g0"])]
COMPILER_FLAGS = {
    "release": RELEASE_FLAGS,
    "freethreaded": RELEASE_FLAGS,  # the same in a copy of its own, since the interpreter is another
    # Assertions on (-UNDEBUG); the first finding ends the process.
    "sanitize": ["-O1", "-g", "-UNDEBUG", "-fsanitize=address,undefined", "-fno-sanitize-recover=all"],
    # The interpreter has to be built with it too: tools/test-freethreaded.sh.
    "tsan": ["-O1", "-g", "-UNDEBUG", "-fsanitize=thread"],
    # sys.monitoring (3.13 and later) loses the .pyx files from the report.
    "coverage": ["-O0", "-g0", "-DCYTHON_TRACE_NOGIL=1", "-DCYTHON_USE_SYS_MONITORING=0"],
}[KIND]


class BuildPyAndHeaders(build_py):
    """Put the .pxd files beside the modules, so that another Cython project can cimport from an installed iotwire."""

    def run(self) -> None:
        super().run()
        if not self.editable_mode:
            for header in glob("ext/iotwire/*.pxd"):
                self.copy_file(header, os.path.join(self.build_lib, "iotwire"))


setup(
    ext_modules=cythonize(
        [
            Extension(
                "*",
                ["ext/iotwire/*.pyx"],
                extra_compile_args=COMPILER_FLAGS,
                extra_link_args=[flag for flag in COMPILER_FLAGS if flag.startswith("-fsanitize")],
            )
        ],
        include_path=["ext"],
        # The coverage plugin finds the C of a module beside its source only.
        build_dir=None if KIND == "coverage" else "build/c",
        # Free-threaded CPython would bring its lock back for a module that does not say this.
        compiler_directives={"freethreading_compatible": True, "linetrace": KIND == "coverage"},
    ),
    cmdclass={"build_py": BuildPyAndHeaders},
)
