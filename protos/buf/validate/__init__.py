"""Home of the validation options' descriptor; see buf.validate.validate_pb2."""
