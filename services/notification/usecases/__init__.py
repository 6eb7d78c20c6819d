"""What notification does: each method loads, decides and saves; each that writes is one transaction."""
