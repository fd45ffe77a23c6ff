"""Meaning: one module per table, its frozen rows and the verbs on them."""
