"""Everup keeps the services of an environment up, and proves it."""

__version__ = "0.1.0"
