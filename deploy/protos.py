"""Generates the committed stubs from the contracts, and lints the contracts with buf.

`python -m deploy.protos` writes the stubs beside their .proto files; `--check` fails when the committed ones differ;
`--lint` runs buf's STANDARD and COMMENTS rules. The validation options' descriptor comes out of the protovalidate wheel.
"""

import subprocess
import sys
import tempfile
from pathlib import Path

from protovalidate._gen.buf.validate import validate_pb

ROOT = Path(__file__).resolve().parent.parent
PROTOS = ROOT / "protos"
GENERATED_SUFFIXES = ("_pb2.py", "_pb2.pyi", "_pb2_grpc.py", "_pb2_grpc.pyi")


def validate_descriptor_set() -> bytes:
    """A FileDescriptorSet of validate.proto: field 1, length-delimited, holding its FileDescriptorProto."""
    from google.protobuf import descriptor_pb2

    files = descriptor_pb2.FileDescriptorSet()
    files.file.add().ParseFromString(validate_pb.desc().proto.to_binary())
    for name in ("descriptor", "duration", "timestamp", "any", "field_mask"):
        module = __import__(f"google.protobuf.{name}_pb2", fromlist=["DESCRIPTOR"])
        files.file.add().ParseFromString(module.DESCRIPTOR.serialized_pb)
    # A descriptor set lists dependencies before their users.
    files.file.append(files.file.pop(0))
    return files.SerializeToString()


def contracts() -> list[str]:
    return sorted(str(path.relative_to(PROTOS)) for path in PROTOS.glob("fisc/**/*.proto"))


def protoc(work: Path, *arguments: str) -> None:
    descriptors = work / "validate.binpb"
    descriptors.write_bytes(validate_descriptor_set())
    subprocess.run(  # noqa: S603 -- our own arguments
        [
            sys.executable, "-m", "grpc_tools.protoc", f"--proto_path={PROTOS}",
            f"--descriptor_set_in={descriptors}", *arguments, *contracts(),
        ],
        check=True,
        cwd=PROTOS,
    )  # fmt: skip


def generate(out: Path) -> None:
    """Writes every stub below `out`, with the packages' __init__ modules."""
    with tempfile.TemporaryDirectory() as work:
        plugins = Path(sys.executable).parent
        protoc(
            Path(work),
            f"--python_out={out}",
            f"--grpc_python_out={out}",
            f"--plugin=protoc-gen-mypy={plugins / 'protoc-gen-mypy'}",
            f"--plugin=protoc-gen-mypy_grpc={plugins / 'protoc-gen-mypy_grpc'}",
            f"--mypy_out=quiet:{out}",
            f"--mypy_grpc_out=quiet:{out}",
        )
    for contract in contracts():
        folder = out / Path(contract).parent
        for package in (folder, folder.parent):
            marker = package / "__init__.py"
            if not marker.exists():
                marker.write_text("")


def stale() -> list[str]:
    """The generated files that differ from what the contracts say."""
    with tempfile.TemporaryDirectory() as work:
        fresh = Path(work)
        generate(fresh)
        wanted = {
            path.relative_to(fresh): path.read_bytes()
            for path in fresh.rglob("*")
            if path.name.endswith(GENERATED_SUFFIXES)
        }
        present = {
            path.relative_to(PROTOS): path.read_bytes()
            for path in PROTOS.glob("fisc/**/*")
            if path.name.endswith(GENERATED_SUFFIXES)
        }
        return sorted(
            str(path)
            for path in wanted.keys() | present.keys()
            if wanted.get(path) != present.get(path)
        )


def lint() -> int:
    with tempfile.TemporaryDirectory() as work:
        image = Path(work) / "fisc.binpb"
        protoc(
            Path(work),
            f"--descriptor_set_out={image}",
            "--include_imports",
            "--include_source_info",
        )
        paths = [argument for contract in contracts() for argument in ("--path", contract)]
        return subprocess.run(  # noqa: S603 -- our own arguments
            [Path(sys.executable).parent / "buf", "lint", str(image), *paths, "--config", str(PROTOS / "buf.yaml")],
            check=False,
            cwd=work,
        ).returncode  # fmt: skip


def main(arguments: list[str]) -> int:
    if "--lint" in arguments:
        return lint()
    if "--check" in arguments:
        differing = stale()
        for path in differing:
            sys.stderr.write(f"stale: protos/{path}: run `make protos`\n")
        return 1 if differing else 0
    generate(PROTOS)
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
