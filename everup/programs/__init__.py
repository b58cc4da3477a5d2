"""Small programs that run beside the servers, on their own: no control plane, nothing to install."""
