"""Metrics as pure functions on arrays: faces in mm, lips, emotion, statistics."""
