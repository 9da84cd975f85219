"""Which version of a model repository is served: the one that the ensemble's configuration pins.

It is the newest until a rollback pins an older one; the newer folders stay where they are.
"""

from __future__ import annotations

from pathlib import Path

from google.protobuf import text_format
from tritonclient.grpc import model_config_pb2 as triton

from client.artifact import newest_artifact_folder
from client.errors import ArtifactError

ENSEMBLE, CONFIG_FILE = "review_analysis", "config.pbtxt"


def served_artifact_folder(repository: Path) -> Path:
    """The artifact folder of the version that a Triton on this repository serves.

    The pinned version, or the highest one where the configuration is missing (a copy of the artifact alone) or leaves
    the choice to Triton.

    Raises:
        ArtifactError: the repository has no exported version, its configuration cannot be read, or it pins a version
            that is not there.
    """
    config_file = repository / ENSEMBLE / CONFIG_FILE
    if not config_file.is_file():
        return newest_artifact_folder(repository)
    pinned = read_config(config_file).version_policy.specific.versions
    if not pinned:
        return newest_artifact_folder(repository)
    folder = repository / ENSEMBLE / str(max(pinned))
    if not folder.is_dir():
        raise ArtifactError(f"{config_file}: pins version {max(pinned)}, and there is no {folder}; pin one that is")
    return folder


def served_version(repository: Path) -> int:
    """Number of the version that a Triton on this repository serves; raises as ``served_artifact_folder``."""
    return int(served_artifact_folder(repository).name)


def read_config(path: Path) -> triton.ModelConfig:
    """A model's ``config.pbtxt``.

    Raises:
        ArtifactError: the file cannot be read or is no model configuration.
    """
    try:
        return text_format.Parse(path.read_text(encoding="utf-8"), triton.ModelConfig())
    except (OSError, UnicodeDecodeError, text_format.ParseError) as error:
        raise ArtifactError(f"{path}: no model configuration: {error}; export the model again") from None
