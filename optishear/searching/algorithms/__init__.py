"""Search algorithms with one interface: ask for genomes, tell their objectives."""
