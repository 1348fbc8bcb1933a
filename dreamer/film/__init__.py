"""Recipes of films: every number that decides one."""
