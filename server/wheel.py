"""The Triton that the `nvidia-pytriton` wheel carries: where its parts lie and the environment that they need."""

from __future__ import annotations

import importlib.metadata
import importlib.util
import os
import platform
import sys
import sysconfig
from ctypes.util import find_library
from dataclasses import dataclass
from pathlib import Path

from client.errors import EmbeddedTritonError

STAND_IN = Path(__file__).parent / "onnxruntime_backend" / "model.py"
THREADS_VARIABLE = "REVIEWLENS_THREADS"  # read by the stand-in backend
INSTALL = 'in the folder of ReviewLens: pip install -e ".[embedded]"'
OTHER_SERVER = "or point to a running Triton with --url HOST:PORT"


@dataclass(frozen=True)
class TritonWheel:
    """Parts of the installed wheel, and `library_path`: the folders where they find their shared libraries."""

    binary: Path
    backend_files: dict[str, Path]
    library_path: tuple[Path, ...]
    python_path: tuple[Path, ...]

    @classmethod
    def find(cls) -> TritonWheel:
        """Look the wheel up in the running Python's environment.

        Raises:
            EmbeddedTritonError: another platform, or a package that is missing or does not work with the stub.
        """
        machine = f"{platform.system()} {platform.machine()}"
        if machine != "Linux x86_64":
            raise EmbeddedTritonError(
                f"the embedded Triton runs on Linux x86_64, this is {machine}: use --url HOST:PORT"
            )
        packages = {name: _package_folder(name) for name in ("pytriton", "onnxruntime", "numpy")}
        if (numpy_version := importlib.metadata.version("numpy")).split(".")[0] != "1":
            raise EmbeddedTritonError(
                f"numpy {numpy_version}: the embedded Triton returns empty tensors with numpy 2; {INSTALL}"
            )
        version = f"{sys.version_info.major}.{sys.version_info.minor}"
        triton = packages["pytriton"] / "tritonserver"
        stub = triton / "python_backend_stubs" / version / "triton_python_backend_stub"
        if not stub.is_file():
            raise EmbeddedTritonError(f"Python {version}: the embedded Triton has no stub for it: use 3.11 or 3.12")
        python = triton / "backends" / "python"
        names = ("libtriton_python.so", "triton_python_backend_utils.py")
        backend_files = {f"python/{name}": python / name for name in names}
        backend_files |= {"python/triton_python_backend_stub": stub, "onnxruntime/model.py": STAND_IN}
        libraries = [packages["pytriton"].parent / "nvidia_pytriton.libs", *_libpython_folders(version)]
        paths = sysconfig.get_paths()
        site_packages = [Path(paths["purelib"]), Path(paths["platlib"]), *(p.parent for p in packages.values())]
        return cls(
            binary=triton / "bin" / "tritonserver",
            backend_files=backend_files,
            library_path=tuple(libraries),
            python_path=tuple(dict.fromkeys(site_packages)),
        )

    def environment(self, threads: int | None) -> dict[str, str]:
        """Environment variables for the server; `threads` for each model, None leaves it to the model's config."""
        # Variables like PYTHONHOME or PYTHONWARNINGS=error are meant for the caller's Python, not for Triton's.
        env = {name: value for name, value in os.environ.items() if not name.startswith("PYTHON")}
        env.pop(THREADS_VARIABLE, None)
        libraries = [*map(str, self.library_path), *filter(None, [env.get("LD_LIBRARY_PATH")])]
        env["LD_LIBRARY_PATH"] = ":".join(libraries)
        env["PYTHONPATH"] = ":".join(map(str, self.python_path))
        env["PYTHONDONTWRITEBYTECODE"] = "1"
        env["ORT_DISABLE_TELEMETRY"] = "1"  # onnxruntime's Linux wheels report usage to Microsoft by default
        # The stub takes its standard library from the first python3 on PATH.
        env["PATH"] = f"{Path(sys.executable).parent}:{env.get('PATH', os.defpath)}"
        if threads is not None:
            env[THREADS_VARIABLE] = str(threads)
        return env


def _package_folder(name: str) -> Path:
    """Folder of an installed package, found without importing it."""
    spec = importlib.util.find_spec(name)
    if spec is None or not spec.submodule_search_locations:
        raise EmbeddedTritonError(f"{name} is not installed, the embedded Triton needs it: {INSTALL}, {OTHER_SERVER}")
    return Path(spec.submodule_search_locations[0])


def _libpython_folders(version: str) -> list[Path]:
    """Folders to search for the shared libpython that the stub is linked to; none when the system finds it."""
    name = f"libpython{version}.so.1.0"
    library_folder = sysconfig.get_config_var("LIBDIR") or ""
    folders = {Path(library_folder), Path(sys.base_prefix) / "lib"}
    if found := sorted(folder for folder in folders if (folder / name).exists()):
        return found
    if find_library(f"python{version}") is None:
        raise EmbeddedTritonError(
            f"{name} is missing, the embedded Triton's Python needs it: apt-get install libpython{version} "
            f"(or use a Python built with --enable-shared), {OTHER_SERVER}"
        )
    return []
