"""What Everup promises, measured: `make bench`, or one part, such as `python -m benchmarks failover --runs 3`."""
