"""One cached stage per file: calibrate, statistics, search, prune, reconstruct, evaluate and the rest."""
