"""The numbers of a run: the types of ``metrics.json``, its file, and the tables that compare its models."""
