"""What ``import optishear`` offers: the whole library behind a few functions."""
