"""Training data: the on-disk form, readers of foreign layouts, speech synthesis with labels, labels from phones and video."""
