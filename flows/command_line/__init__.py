"""The command line ``optishear``, made from the parameters of the flows."""
