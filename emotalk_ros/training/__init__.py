"""From a corpus to a checkpoint: pseudo pairs, losses, recipes, the trainer and its model card."""
