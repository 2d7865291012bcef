"""Reads what the Rust codec writes with protobuf's own Python package: JSON and binary of every golden vector
must be the same message, and what Python writes of it is left for the codec to read.

usage: read_vectors.py DESCRIPTORS TESTDATA OUT
DESCRIPTORS is a FileDescriptorSet; OUT gets NAME.json and NAME.binpb for each vector, under client/ and server/.
"""

import sys
from pathlib import Path

from google.protobuf import descriptor_pb2, descriptor_pool, json_format, message_factory


def message_classes(descriptors: bytes) -> dict:
    files = descriptor_pb2.FileDescriptorSet.FromString(descriptors)
    pool = descriptor_pool.DescriptorPool()
    for file in files.file:
        pool.Add(file)
    classes = message_factory.GetMessageClassesForFiles([file.name for file in files.file], pool)
    return {"client": classes["parlour.v1.ClientFrame"], "server": classes["parlour.v1.ServerFrame"]}


def main(descriptors: str, testdata: str, out: str) -> int:
    faults = read = 0
    for side, frame in message_classes(Path(descriptors).read_bytes()).items():
        folder = Path(out, side)
        folder.mkdir(parents=True)
        for path in sorted(Path(testdata, side).glob("*.json")):
            from_json = json_format.Parse(path.read_text(encoding="utf-8"), frame())
            from_binary = frame.FromString(path.with_suffix(".binpb").read_bytes())
            read += 1
            if from_json != from_binary:
                faults += 1
                print(f"{side}/{path.stem}: JSON and binary are not the same message", file=sys.stderr)
            # 64-bit numbers as strings, as ProtoJSON prescribes to those who write it.
            (folder / path.name).write_text(json_format.MessageToJson(from_binary), encoding="utf-8")
            (folder / path.with_suffix(".binpb").name).write_bytes(from_json.SerializeToString(deterministic=True))
    print(f"{read} vectors read")
    return 1 if faults or not read else 0


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
