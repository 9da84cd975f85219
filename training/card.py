"""Write the model card of a model repository from an evaluation: ``python -m training.card --help``.

The card's text about data, terms and limits is a template beside this file; figures come from ``training.evaluate`` and
hashes from the files.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from client.artifact import Artifact, sha256_of
from client.errors import InvalidInputError, ReviewLensError
from client.served import served_artifact_folder
from training.metrics import format_table
from training.predictions import model_file

TEMPLATE = Path(__file__).parent / "starter_card.md"


def model_card(repository: Path, results: dict[str, Any]) -> str:
    """The card's text.

    Raises:
        InvalidInputError: the evaluation is of another model version.
    """
    folder = served_artifact_folder(repository)
    labels = Artifact.load(folder).labels
    if results["model_version"] != labels.model_version:
        raise InvalidInputError(
            f"the evaluation is of model version {results['model_version']}, the repository holds "
            f"{labels.model_version}; evaluate it first"
        )
    files = [
        *(model_file(repository, model, folder.name) for model in ("keyword_classifier", "sentiment_classifier")),
        *(folder / name for name in ("labels.json", "tokenizer.json")),
    ]
    hashes = "\n".join(f"| `{f.relative_to(repository)}` | `{sha256_of(f.read_bytes())}` |" for f in files)
    figures = []
    for name, entry in results["files"].items():
        figures.append(f"### {name}: {entry['reviews']} reviews that no training touched")
        if share := entry.get("highlights_inside_marked_words"):
            inside, count = share["share"], share["highlights"]
            figures.append(f"Top highlights inside the words that people marked: **{inside:.3f}** of {count}.")
        tables = "\n\n".join(format_table(table, title) for title, table in entry["tables"].items())
        figures.append(f"```\n{tables}\n```")
    return (
        TEMPLATE.read_text(encoding="utf-8")
        .replace("{{version}}", labels.model_version)
        .replace("{{hashes}}", hashes)
        .replace("{{figures}}", "\n\n".join(figures))
    )


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m training.card", description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--repository", type=Path, default=Path("model_repository"), help="(default: %(default)s)")
    parser.add_argument("--evaluation", type=Path, required=True, help="what training.evaluate --output wrote")
    args = parser.parse_args(arguments)
    try:
        card = model_card(args.repository, json.loads(args.evaluation.read_text(encoding="utf-8")))
    except (ReviewLensError, OSError, ValueError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    (args.repository / "README.md").write_text(card, encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
