"""What is logged to MLflow at the end of a flow: numbers, files, data sets, model versions and the champion."""
