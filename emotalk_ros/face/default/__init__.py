"""The face that the project ships, made by code: mesh, parts, shapes."""
