"""The swarm engine: nodes as services of a Docker Swarm, which runs them where Everup says and decides nothing."""
