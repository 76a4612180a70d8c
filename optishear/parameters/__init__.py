"""The parameters that the library reads, one group per file. Importing them is light: no PyTorch."""
