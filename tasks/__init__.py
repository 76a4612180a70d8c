"""The cached stages of the pipeline as Prefect tasks, thin over the library, and their registration in MLflow."""
