"""Registers the descriptor of buf/validate/validate.proto with google.protobuf.

The generated stubs import this module because their fields carry validation options. Its descriptor lies inside the protovalidate
wheel, for protovalidate's own runtime; here it enters the default pool of google.protobuf, so that nothing of it need be copied.
"""

from google.protobuf import (
    descriptor_pb2,  # noqa: F401 - a dependency must be in the pool first
    descriptor_pool,
    duration_pb2,  # noqa: F401 - likewise
    field_mask_pb2,  # noqa: F401 - likewise
    timestamp_pb2,  # noqa: F401 - likewise
)
from google.protobuf.internal import builder
from protovalidate._gen.buf.validate import validate_pb

DESCRIPTOR = descriptor_pool.Default().AddSerializedFile(validate_pb.desc().proto.to_binary())

builder.BuildMessageAndEnumDescriptors(DESCRIPTOR, globals())
builder.BuildTopDescriptorsAndMessages(DESCRIPTOR, "buf.validate.validate_pb2", globals())
