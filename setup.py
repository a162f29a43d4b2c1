"""Which extension modules there are, and how they are compiled. All else stands in pyproject.toml.

IOTWIRE_BUILD picks another kind of build than `release`; tools/build-copy.sh makes those, in copies of the tree.
IOTWIRE_LIMITED_API=1 makes one set of modules for all Pythons from 3.11 on, slower than those for a single version.
"""

import os
import runpy
import sysconfig
from glob import glob

from Cython.Build import cythonize
from setuptools import Extension, setup
from setuptools.command.bdist_wheel import bdist_wheel
from setuptools.command.build_py import build_py

KIND = os.environ.get("IOTWIRE_BUILD", "release")
PLATFORM = sysconfig.get_platform()
OPTIMIZATION = "-Os" if PLATFORM == "linux-armv6l" else "-O3"  # an ARM1176 caches 16 KB of instructions
RELEASE_FLAGS = ["-DCYTHON_WITHOUT_ASSERTIONS", *([] if os.name == "nt" else [OPTIMIZATION, "-g0"])]
IS_BOARD = PLATFORM.startswith(("linux-aarch64", "linux-arm"))
if IS_BOARD:
    # Boards have little memory, and tables to unwind by are a tenth of it: for exceptions that no C of ours throws.
    RELEASE_FLAGS += ["-fno-unwind-tables", "-fno-asynchronous-unwind-tables"]
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
if os.name != "nt":
    # A macro that the limited API lacks must end the build. Called as an unknown function, it would end the import.
    COMPILER_FLAGS += ["-Werror=implicit-function-declaration"]

# What runs seldom is compiled to be small. On boards so is more: with clang, which makes their wheels, the session is a
# tenth smaller for it and 2 % slower. With GCC it would be 20 % slower; there -O2 takes an eighth, and no time.
# Of the codecs of TLS and of signatures it takes a quarter.
SMALLER = {
    "iotwire._cpu": "-Os",
    "iotwire._faults": "-Os",
    "iotwire._session": "-O2",
    "iotwire._sigv4": "-O2",
    "iotwire._tls": "-O2",
    "iotwire._websocket": "-O2",
}
if IS_BOARD:
    SMALLER |= dict.fromkeys(("iotwire._session", "iotwire._sigv4", "iotwire._tls", "iotwire._topics"), "-Os")

# C of our own, beside what Cython makes of a module.
HAND_WRITTEN = {"iotwire._sigv4": ["ext/iotwire/_sha256.c"]}

# Free-threaded Pythons load no module of the limited API (3.15 will, of another one).
LIMITED_API = os.environ.get("IOTWIRE_LIMITED_API") == "1" and not sysconfig.get_config_var("Py_GIL_DISABLED")


class BuildPyAndHeaders(build_py):
    """Put the .pxd files beside the modules, so that another Cython project can cimport from an installed iotwire."""

    def run(self) -> None:
        super().run()
        if not self.editable_mode:
            for header in glob("ext/iotwire/*.pxd"):
                self.copy_file(header, os.path.join(self.build_lib, "iotwire"))


class WheelWithBillOfMaterials(bdist_wheel):
    """Put the bill of materials where PEP 770 wants it; setuptools has no setting for that."""

    def egg2dist(self, egginfo_path: str, distinfo_path: str) -> None:
        super().egg2dist(egginfo_path, distinfo_path)
        # Loaded by path: a build in isolation does not have the tree on its import path.
        tool = runpy.run_path("tools/bill_of_materials.py")
        facts = self.distribution.metadata
        bill = tool["bill_of_a_wheel"](facts.name, facts.version, facts.license_expression, facts.description)
        path = os.path.join(distinfo_path, tool["PLACE"])
        os.makedirs(os.path.dirname(path), exist_ok=True)
        with open(path, "w", encoding="utf-8", newline="\n") as file:
            file.write(bill)


modules = cythonize(
    [
        Extension(
            "*",
            ["ext/iotwire/*.pyx"],
            define_macros=[("Py_LIMITED_API", "0x030B0000")] if LIMITED_API else [],
            py_limited_api=LIMITED_API,
            extra_compile_args=COMPILER_FLAGS,
            extra_link_args=[flag for flag in COMPILER_FLAGS if flag.startswith("-fsanitize")],
        )
    ],
    include_path=["ext"],
    # The coverage plugin finds the C of a module beside its source only.
    build_dir=None if KIND == "coverage" else "build/c",
    compiler_directives={
        "auto_pickle": False,  # packets have a __reduce__ of their own; the code for the rest was an eighth of all
        "freethreading_compatible": True,  # without it a free-threaded CPython would bring its lock back
        "linetrace": KIND == "coverage",
    },
)
for module in modules:
    for source in HAND_WRITTEN.get(module.name, ()):
        module.sources.append(source)
        module.depends.append(source.removesuffix("c") + "h")
        module.include_dirs.append(os.path.dirname(source))
    if module.name in SMALLER and OPTIMIZATION in COMPILER_FLAGS:
        module.extra_compile_args = [*COMPILER_FLAGS, SMALLER[module.name]]  # the last -O counts

setup(
    ext_modules=modules,
    cmdclass={"build_py": BuildPyAndHeaders, "bdist_wheel": WheelWithBillOfMaterials},
    # A wheel takes all that lies in the build folder: modules of the two flavours must not meet there.
    options={"bdist_wheel": {"py_limited_api": "cp311"}, "build": {"build_base": "build/abi3"}} if LIMITED_API else {},
)
