"""boto3 for tests and benchmarks in other languages: a JSON command a line on standard input, a JSON answer a line.

Commands:
  {"do": "call", "service": "s3", "name": "put_object", "with": {…}}    any method of any client of boto3
  {"do": "list", "bucket": B, "prefix": P}                  {key: {"size": n, "etag": "…"}}, all pages
  {"do": "put_file", "bucket": B, "key": K, "file": PATH}
  {"do": "multipart", "bucket": B, "key": K, "size": n, "part": n, "seed": n}    {"sha256": "…"} of what was made up
  {"do": "upload_dir", "bucket": B, "prefix": P, "folder": PATH}                 how many files
Bytes are {"base64": "…"} both ways. Answers: {"ok": …}, or {"error": {"code": "…", "status": n, "message": "…"}}.
Server, keys and region come from boto3's own environment variables.
"""
import base64, hashlib, json, random, sys
from concurrent.futures import ThreadPoolExecutor
from functools import cache
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "target/testdata/python"))
import boto3
from botocore.config import Config
from botocore.exceptions import BotoCoreError, ClientError

# Ceph 16 refuses the checksums that newer SDKs send unasked.
CONFIG = Config(
    s3={"addressing_style": "path"},
    request_checksum_calculation="when_required",
    response_checksum_validation="when_required",
    max_pool_connections=16,
)


@cache
def client(service):
    return boto3.client(service, config=CONFIG)


def call(service, name, **more):
    answer = getattr(client(service), name)(**more["with"])
    answer.pop("ResponseMetadata", None)
    return answer


def list_(bucket, prefix):
    pages = client("s3").get_paginator("list_objects_v2").paginate(Bucket=bucket, Prefix=prefix)
    return {o["Key"]: {"size": o["Size"], "etag": o["ETag"]} for page in pages for o in page.get("Contents", [])}


def put_file(bucket, key, file):
    with open(file, "rb") as body:
        client("s3").put_object(Bucket=bucket, Key=key, Body=body)


def multipart(bucket, key, size, part, seed):
    target, content, whole = {"Bucket": bucket, "Key": key}, random.Random(seed), hashlib.sha256()
    upload = client("s3").create_multipart_upload(**target)["UploadId"]
    parts = []
    for number, start in enumerate(range(0, size, part), 1):
        body = content.randbytes(min(part, size - start))
        whole.update(body)
        sent = client("s3").upload_part(**target, UploadId=upload, PartNumber=number, Body=body)
        parts.append({"PartNumber": number, "ETag": sent["ETag"]})
    client("s3").complete_multipart_upload(**target, UploadId=upload, MultipartUpload={"Parts": parts})
    return {"sha256": whole.hexdigest()}


def upload_dir(bucket, prefix, folder):
    files = [path for path in Path(folder).rglob("*") if path.is_file()]
    with ThreadPoolExecutor(16) as pool:
        list(pool.map(lambda path: put_file(bucket, prefix + path.relative_to(folder).as_posix(), path), files))
    return len(files)


def unpack(value):
    return base64.b64decode(value["base64"]) if value.keys() == {"base64"} else value


def pack(value):
    """What JSON has no word for."""
    if hasattr(value, "read"):
        value = value.read()
    return {"base64": base64.b64encode(value).decode()} if isinstance(value, bytes) else str(value)


COMMANDS = {"call": call, "list": list_, "put_file": put_file, "multipart": multipart, "upload_dir": upload_dir}


def answer(line):
    command = json.loads(line, object_hook=unpack)
    try:
        return {"ok": COMMANDS[command.pop("do")](**command)}
    except ClientError as error:
        status = error.response.get("ResponseMetadata", {}).get("HTTPStatusCode", 0)
        reason = error.response["Error"]
        return {"error": {"code": reason.get("Code"), "status": status, "message": reason.get("Message")}}
    except BotoCoreError as error:
        return {"error": {"code": type(error).__name__, "status": 0, "message": str(error)}}


def main():
    client("s3")
    for line in sys.stdin:
        print(json.dumps(answer(line), default=pack), flush=True)


if __name__ == "__main__":
    main()
