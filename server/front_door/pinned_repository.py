"""A model repository as it is with one of its versions served, whatever its own configurations say meanwhile."""

from __future__ import annotations

import shutil
from pathlib import Path
from tempfile import TemporaryDirectory

from client.errors import ArtifactError
from client.served import CONFIG_FILE, served_version
from export.config import MODELS
from export.versions import is_settled, serve_version


class PinnedRepository:
    """A temporary folder with links to the repository's version folders, and configurations that name ``version``.

    A Triton that is started there, or started again, serves that version also after a promotion or a rollback in the
    repository itself.
    """

    def __init__(self, repository: Path, version: int) -> None:
        """Make an empty folder; ``write`` makes ``path`` in it."""
        self._repository = repository
        self._version = version
        # A start that is called off may still be writing while the folder is removed.
        self._folder = TemporaryDirectory(prefix="reviewlens-pinned-", ignore_cleanup_errors=True)
        self.path = Path(self._folder.name).resolve() / repository.name

    def write(self) -> None:
        """Write links and configurations; once they are there, nothing is done.

        Raises:
            ArtifactError: the repository is broken, or has no such version.
            InvalidInputError: a file cannot be written.
        """
        if self.path.exists():
            return
        try:
            for model in MODELS:
                self._show(self._repository.resolve() / model, self.path / model)
            if served_version(self.path) != self._version or not is_settled(self.path):
                serve_version(self.path, self._version)
        except BaseException:
            shutil.rmtree(self.path, ignore_errors=True)
            raise

    def remove(self) -> None:
        """Remove the folder, and nothing of the repository."""
        self._folder.cleanup()

    @staticmethod
    def _show(model: Path, shown: Path) -> None:
        shown.mkdir(parents=True)
        try:
            shutil.copy(model / CONFIG_FILE, shown)
        except OSError as error:
            raise ArtifactError(f"{model / CONFIG_FILE}: cannot be read: {error.strerror}") from None
        for version in model.glob("[0-9]*"):
            (shown / version.name).symlink_to(version)
