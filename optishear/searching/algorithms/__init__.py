"""Search algorithms behind one interface: ask for genomes, tell what they are worth."""
