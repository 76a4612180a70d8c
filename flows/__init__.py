"""Prefect flows that only compose tasks: the pipeline, and one flow per stage."""

from flows.shared.defaults import set_defaults

# Prefect and MLflow read their settings when they are imported, and every way in passes through here first.
set_defaults()
