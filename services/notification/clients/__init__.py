"""The world outside: other services' news, merchants' endpoints, and the seal around secrets."""
