"""Task files of the user's own, with their data, in a temporary folder."""

import json
from pathlib import Path

import yaml

QUESTIONS = [{"question": f"{number} is", "choices": ["even", "odd"], "answer": number % 2} for number in range(12)]
TASK = {
    "dataset_path": "json",
    "test_split": "test",
    "output_type": "multiple_choice",
    "doc_to_text": "{{question}}",
    "doc_to_choice": "choices",
    "doc_to_target": "answer",
    "metric_list": [{"metric": "acc", "aggregation": "mean", "higher_is_better": True}],
}


class TaskFolder:
    """A folder of task files."""

    def __init__(self, path: Path) -> None:
        self.path = path
        path.mkdir()
        self.data = path / "questions.jsonl"
        self.data.write_text("\n".join(json.dumps(question) for question in QUESTIONS), encoding="utf-8")

    def add(self, name: str, **changes: object) -> str:
        """Write a task that differs in some keys from one of even and odd numbers."""
        files = {"data_files": {"test": str(self.data)}, "cache_dir": str(self.path / "cache")}
        return self.write(name, {"task": name, "dataset_kwargs": files, **TASK, **changes})

    def write(self, name: str, content: dict[str, object]) -> str:
        (self.path / f"{name}.yaml").write_text(yaml.safe_dump(content), encoding="utf-8")
        return name

    def add_failing(self, name: str, error: str) -> str:
        """Write a task that loads, and raises once it is run."""
        self.add(name)
        (self.path / f"{name}_utils.py").write_text(
            f"import torch\n\ndef fail(doc, results):\n    raise {error}\n", encoding="utf-8"
        )
        # A tag of lm-eval's own, which safe YAML cannot write.
        with (self.path / f"{name}.yaml").open("a", encoding="utf-8") as file:
            file.write(f"process_results: !function {name}_utils.fail\n")
        return name
