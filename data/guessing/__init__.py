"""Guessing the spec of a stranger's files: values before names, each decision with its reason."""
