"""Drills: a fault under steady load, what its clients saw, and a report. Conducted outside of the control plane."""
