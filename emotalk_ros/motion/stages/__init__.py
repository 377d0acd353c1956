"""One module per stage of the motion pipeline; docs/motion.md has the table."""
