"""What turns a function that writes files into a cached Prefect task: placement, retries, batches, loaded models."""
