"""The face: names and orders of the 52 coefficients, expressions, finishing of a motion, meshes in mm (numpy only)."""
