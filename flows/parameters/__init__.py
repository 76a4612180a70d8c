"""The parameters of each flow, one flow per file. Importing them is light: no Prefect and no PyTorch."""
