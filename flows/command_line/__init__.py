"""The command line ``optishear``, with flags from the parameters of the flows."""
