"""Speaks with implementations nobody here wrote, in both roles, over real pipes."""
