"""The report of a run: figures, a verdict, and one self-contained HTML page."""
