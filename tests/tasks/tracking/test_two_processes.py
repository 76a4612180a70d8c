"""Two processes that begin at once on a new home folder, with the same parameters, share one run in MLflow."""

import subprocess
import sys
from pathlib import Path

from mlflow.tracking import MlflowClient

_PROGRAM = """
import sys, time
from pathlib import Path
import flows
from tasks.tracking.experiment import connect
from tasks.tracking.flow_runs import find_or_begin
from tasks.tracking.parameters import TrackingParameters
folder, name = Path(sys.argv[1]), sys.argv[2]
(folder / name).touch()
while len(list(folder.iterdir())) < 2:  # both have imported everything
    time.sleep(0.01)
run = find_or_begin(connect(TrackingParameters()), "a run", "key")
for _ in range(3):
    run.log_parameters({"trials": 3})
    run.log_metrics({"perplexity": 12.5})
"""


def test_both_connect_and_every_value_is_logged_once(tmp_path: Path, home: Path) -> None:
    meeting = tmp_path / "meeting"
    meeting.mkdir()
    processes = [
        subprocess.Popen([sys.executable, "-c", _PROGRAM, str(meeting), name], stderr=subprocess.PIPE, text=True)
        for name in ("first", "second")
    ]
    for process in processes:
        _, error = process.communicate()
        assert process.returncode == 0, error
    client = MlflowClient(tracking_uri=f"sqlite:///{home / 'mlflow.db'}")
    (experiment,) = [each for each in client.search_experiments() if each.name != "Default"]
    (run,) = client.search_runs([experiment.experiment_id])
    assert run.data.params == {"trials": "3"}
    assert [point.value for point in client.get_metric_history(run.info.run_id, "perplexity")] == [12.5]
