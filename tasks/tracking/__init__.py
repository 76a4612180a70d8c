"""MLflow runs: the experiment, the run of a flow, and the run of each stage in it."""
