"""`make demo`: a web app on Redis HA loses its primary and a web instance under load, and says what clients saw."""
