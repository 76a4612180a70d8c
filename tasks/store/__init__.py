"""The content-addressed artifact store: keys, digests, costs, provenance and cleaning."""
