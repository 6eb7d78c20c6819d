"""The services below the gateway, behind the Protocols of usecases.ports; calls that happen once per payment travel in batches."""
