"""gRPC between our services: server, client, deadlines, errors and what is measured about them."""
