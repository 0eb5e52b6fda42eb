"""Training pairs from label maps alone, and from nothing at all."""
