"""The network: configuration, encoders, emotion-guided decoder, checkpoints, controls (torch, transformers)."""
