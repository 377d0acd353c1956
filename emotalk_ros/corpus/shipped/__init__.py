"""How the corpora of the network that ships are built from public sources."""
