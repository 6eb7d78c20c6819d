"""Guards around calls that leave the process: circuit breakers and bounded retries."""
