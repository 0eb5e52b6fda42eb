"""Image pairs to train and test on."""
