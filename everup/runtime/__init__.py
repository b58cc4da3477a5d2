"""What is alive: the loop that observes, plans and performs, its probes, its store, and the desk."""
