"""Write a tiny random checkpoint of a model family, to try a command on.

    python tools/tiny_checkpoint.py mixtral tiny-mixtral
    optishear prune --model tiny-mixtral --sparsity 0.5 --sequences 8 --sequence-length 64 --output pruned

The families are those of docs/families.md, by model type.
"""

import argparse
import sys
from pathlib import Path

ROOT = Path(__file__).parent.parent
sys.path[:0] = [str(ROOT), str(ROOT / "tests")]

from families.families import FAMILIES, family_model  # noqa: E402
from tiny import make_tokenizer  # noqa: E402


def write_tiny_checkpoint(family: str, folder: Path, seed: int = 0) -> None:
    """Write a random model of two to four decoder layers with its tokenizer.

    Args:
        family: the model type, such as ``mixtral``.
        folder: for the files; it may exist.
        seed: of the weights.
    """
    family_model(family, seed).save_pretrained(folder)
    make_tokenizer().save_pretrained(folder)


def main() -> None:
    """Read the command line and write the checkpoint."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("family", choices=sorted(FAMILIES), metavar="FAMILY")
    parser.add_argument("folder", type=Path)
    arguments = parser.parse_args()
    write_tiny_checkpoint(arguments.family, arguments.folder)
    print(f"Written: {arguments.folder}")


if __name__ == "__main__":
    main()
