"""Coefficients in time after the network: a frame, its files, and the stages that shape it (numpy only)."""
