import { hash } from "node:crypto";
import { once } from "node:events";
import { type AddressInfo, createServer } from "node:net";
import { crc32 } from "node:zlib";
import { afterEach, beforeEach, describe, expect, test } from "vitest";
import { awsClients } from "../../../../lib/adapters/aws/clients.ts";
import { s3ObjectStore } from "../../../../lib/adapters/aws/object-store.ts";
import { COPY_BY_HAND_BYTES_MAX } from "../../../../lib/model/limits.ts";
import type { ObjectStore } from "../../../../lib/ports/object-store.ts";
import { type HttpDouble, httpDouble, type Reply, s3Error, xml } from "./http-double.ts";

let double: HttpDouble;
let store: ObjectStore;
beforeEach(async () => {
  double = await httpDouble();
  store = s3ObjectStore(double.s3, { bucket: "states", prefix: "pre fix/" });
});
afterEach(() => double.close());

const OK: Reply = { status: 200, headers: { etag: `"e"` } };
const COPIED = xml(`<CopyPartResult><ETag>"e"</ETag><ChecksumCRC32>AQIDBA==</ChecksumCRC32></CopyPartResult>`);
const BODY = Buffer.from("body");
const UPLOAD = { key: "k", uploadId: "id" };
const PARTS = [
  { number: 1, etag: `"e1" crc32:AAAAAA==` },
  { number: 2, etag: `"e2"` },
];

function crcOf(body: Buffer): string {
  const bytes = Buffer.alloc(4);
  bytes.writeUInt32BE(crc32(body));
  return bytes.toString("base64");
}

function invalidRequest(message: string): Reply {
  return { ...xml(`<Error><Code>InvalidRequest</Code><Message>${message}</Message></Error>`), status: 400 };
}

describe("what is asked of S3", () => {
  test("creating asks for the key to be free, and sends a checksum", async () => {
    double.play(OK);
    expect(await store.createIfAbsent("a/b", BODY)).toEqual({ kind: "created" });
    expect(double.requests[0]).toMatchObject({ method: "PUT", path: "/states/pre%20fix/a/b?x-id=PutObject", body: BODY });
    expect(double.requests[0].headers).toMatchObject({ "if-none-match": "*", "x-amz-checksum-crc32": crcOf(BODY), "content-length": "4" });
  });

  test("an upload is made with checksums, and completed with those and ETags of its parts, only where the key is free", async () => {
    double.play(
      xml("<InitiateMultipartUploadResult><UploadId>id</UploadId></InitiateMultipartUploadResult>"),
      { status: 200, headers: { etag: `"e1"` } },
      xml("<CompleteMultipartUploadResult><ETag>e</ETag></CompleteMultipartUploadResult>"),
    );
    expect(await store.createUpload("k")).toEqual({ uploadId: "id" });
    const stored = await store.uploadPart({ ...UPLOAD, number: 1, body: BODY });
    expect(stored).toEqual({ kind: "stored", etag: `"e1" crc32:${crcOf(BODY)}` });
    expect(await store.completeUpload({ ...UPLOAD, parts: PARTS })).toEqual({ kind: "completed" });
    const [created, part, completed] = double.requests;
    expect(created.headers).toMatchObject({ "x-amz-checksum-algorithm": "CRC32" });
    expect(part.path).toMatch(/partNumber=1.*uploadId=id/);
    expect(part.headers).toMatchObject({ "x-amz-checksum-crc32": crcOf(BODY) });
    expect(completed.headers).toMatchObject({ "if-none-match": "*" });
    const sent = completed.body.toString().replaceAll("&quot;", `"`);
    expect(sent).toContain(`<Part><ETag>"e1"</ETag><ChecksumCRC32>AAAAAA==</ChecksumCRC32><PartNumber>1</PartNumber></Part>`);
    expect(sent).toContain(`<Part><ETag>"e2"</ETag><PartNumber>2</PartNumber></Part>`);
  });

  test("an upload for gaps is made, sent and completed without checksums that S3 keeps, beside which it takes no gap", async () => {
    const made = xml("<InitiateMultipartUploadResult><UploadId>id</UploadId></InitiateMultipartUploadResult>");
    double.play(made, OK, COPIED, xml("<CompleteMultipartUploadResult><ETag>e</ETag></CompleteMultipartUploadResult>"));
    const upload = { ...UPLOAD, gaps: true };
    expect(await store.createUpload("k", { gaps: true })).toEqual({ uploadId: "id" });
    expect(await store.uploadPart({ ...upload, number: 2, body: BODY })).toEqual({ kind: "stored", etag: `"e"` });
    expect(await store.copyPart({ ...upload, number: 4, source: { key: "s", etag: `"s"`, offset: 7, length: 5 } })).toEqual({ kind: "stored", etag: `"e"` });
    const parts = [2, 4].map((number) => ({ number, etag: `"e"` }));
    expect(await store.completeUpload({ ...upload, parts })).toEqual({ kind: "completed" });
    expect(double.requests[1].headers).toMatchObject({ "content-md5": hash("md5", BODY, "base64") });
    for (const { headers, body } of double.requests) {
      expect(Object.keys(headers).filter((name) => /checksum|trailer/.test(name))).toEqual([]);
      expect(body.toString()).not.toContain("Checksum");
    }
  });

  test("a part is copied from a source that is escaped as in a URL, by range, only while it has its ETag", async () => {
    double.play(COPIED, xml("<CompleteMultipartUploadResult><ETag>e</ETag></CompleteMultipartUploadResult>"));
    const copied = await store.copyPart({ ...UPLOAD, number: 1, source: { key: "é +%/?#&'(1).parquet", etag: `"s-2"`, offset: 7, length: 5 } });
    expect(copied).toEqual({ kind: "stored", etag: `"e" crc32:AQIDBA==`, crc32: 0x01020304 });
    expect(await store.completeUpload({ ...UPLOAD, parts: [{ number: 1, etag: `"e" crc32:AQIDBA==` }] })).toEqual({ kind: "completed" });
    const [copy, completed] = double.requests;
    expect(copy).toMatchObject({ method: "PUT", body: Buffer.alloc(0) });
    expect(copy.path).toMatch(/^\/states\/pre%20fix\/k\?.*partNumber=1.*uploadId=id/);
    expect(copy.headers).toMatchObject({
      "x-amz-copy-source": "states/pre%20fix/%C3%A9%20%2B%25/%3F%23%26'(1).parquet",
      "x-amz-copy-source-range": "bytes=7-11",
      "x-amz-copy-source-if-match": `"s-2"`,
    });
    expect(completed.body.toString()).toContain("<ChecksumCRC32>AQIDBA==</ChecksumCRC32><PartNumber>1</PartNumber>");
  });

  test("a list asks for what lies behind, and gives keys without the store's prefix, unescaped", async () => {
    const contents = "<Contents><Key>pre+fix/a/%C3%A9+%2B</Key><Size>3</Size></Contents><Contents><Key>pre+fix/b</Key><Size>0</Size></Contents>";
    double.play(
      xml(`<ListBucketResult><IsTruncated>true</IsTruncated><EncodingType>url</EncodingType>${contents}</ListBucketResult>`),
      xml("<ListBucketResult><IsTruncated>false</IsTruncated></ListBucketResult>"),
    );
    expect(await store.list({ prefix: "", after: "0", limit: 2 })).toEqual({
      objects: [
        { key: "a/é +", size: 3 },
        { key: "b", size: 0 },
      ],
      next: "b",
    });
    expect(await store.list({ prefix: "b" })).toEqual({ objects: [] });
    const query = new URL(double.requests[0].path, "http://x").searchParams;
    expect(Object.fromEntries(query)).toMatchObject({
      prefix: "pre fix/",
      "start-after": "pre fix/0",
      "max-keys": "2",
      "encoding-type": "url",
      "list-type": "2",
    });
  });

  test("uploads are listed behind a key and an id", async () => {
    double.play(
      xml(
        "<ListMultipartUploadsResult><IsTruncated>true</IsTruncated><Upload><Key>pre fix/a+b</Key><UploadId>u1</UploadId></Upload></ListMultipartUploadsResult>",
      ),
    );
    expect(await store.listUploads({ prefix: "a", after: { key: "a", uploadId: "u0" } })).toEqual({
      uploads: [{ key: "a+b", uploadId: "u1" }],
      next: { key: "a+b", uploadId: "u1" },
    });
    const query = new URL(double.requests[0].path, "http://x").searchParams;
    expect(Object.fromEntries(query)).toMatchObject({ prefix: "pre fix/a", "key-marker": "pre fix/a", "upload-id-marker": "u0" });
  });

  test("what could not be deleted is told, without the store's prefix; what was absent is not", async () => {
    double.play(
      xml(
        "<DeleteResult><Error><Key>pre fix/a</Key><Code>AccessDenied</Code><Message>no</Message></Error><Error><Key>pre fix/b</Key><Code>NoSuchKey</Code></Error></DeleteResult>",
      ),
    );
    expect(await store.deleteMany(["a", "b", "c"])).toEqual({ failed: [{ key: "a", reason: "AccessDenied: no; this needs s3:DeleteObject" }] });
    expect(double.requests[0].headers["x-amz-checksum-crc32"]).toBeDefined();
    expect(await store.deleteMany([])).toEqual({ failed: [] });
    expect(double.requests).toHaveLength(1);
  });

  test("a range knows the object's size; one without bytes is answered by the object's head", async () => {
    double.play(
      { status: 206, headers: { "content-range": "bytes 2-3/10" }, body: "23" },
      s3Error(416, "InvalidRange"),
      { status: 200, headers: { "content-length": "10", etag: `"e"` } },
      { status: 200, headers: { "content-length": "10", etag: `"e"` } },
    );
    expect(await store.getRange("k", { offset: 2, length: 2 })).toEqual({ kind: "found", body: Buffer.from("23"), size: 10 });
    expect(double.requests[0].headers.range).toBe("bytes=2-3");
    expect(await store.getRange("k", { offset: 10, length: 5 })).toEqual({ kind: "found", body: Buffer.alloc(0), size: 10 });
    expect(await store.getRange("k", { offset: 3, length: 0 })).toEqual({ kind: "found", body: Buffer.alloc(0), size: 10 });
    expect(double.requests.map(({ method }) => method)).toEqual(["GET", "GET", "HEAD", "HEAD"]);
  });
});

describe("a copied part", () => {
  const SOURCE = { key: "s", etag: `"s-2"`, offset: 2, length: 4 };
  const copy = () => store.copyPart({ ...UPLOAD, number: 1, source: SOURCE });
  const headOf = (size: number, etag = SOURCE.etag): Reply => ({ status: 200, headers: { "content-length": String(size), etag } });
  const methods = () => double.requests.map(({ method }) => method);

  test("of a source that is gone, or another, is none; nor is one of an upload that is gone", async () => {
    double.play(s3Error(404, "NoSuchKey"), s3Error(412, "PreconditionFailed"), s3Error(404, "NoSuchUpload"));
    expect(await copy()).toEqual({ kind: "sourceChanged" });
    expect(await copy()).toEqual({ kind: "sourceChanged" });
    expect(await copy()).toEqual({ kind: "noSuchUpload" });
  });

  test.each([
    [416, "InvalidRange"],
    [400, "InvalidArgument"],
    [400, "InvalidRequest"],
  ])("whose range is refused by %i %s is none where the source is gone, or another, or too short", async (status, code) => {
    for (const found of [[headOf(5)], [headOf(6, `"t"`)], [{ status: 404 }, { status: 200 }], [{ status: 404 }]]) {
      double.play(s3Error(status, code), ...found);
      expect(await copy()).toEqual({ kind: "sourceChanged" });
    }
  });

  test("that is refused though its source is as it should be is a fault of the program", async () => {
    double.play(s3Error(400, "InvalidRequest"), headOf(6));
    await expect(copy()).rejects.toMatchObject({ kind: "bug", code: "refused-request" });
  });

  test("that S3 answers with 200 and an error in it, or nothing, is none", async () => {
    double.play(s3Error(200, "InternalError"), xml("<CopyPartResult></CopyPartResult>"), { status: 200 }, s3Error(200, "PreconditionFailed"));
    await expect(copy()).rejects.toMatchObject({ kind: "retry" });
    await expect(copy()).rejects.toMatchObject({ kind: "retry", code: "unreadable-answer" });
    await expect(copy()).rejects.toMatchObject({ kind: "retry" });
    expect(await copy()).toEqual({ kind: "sourceChanged" });
    expect(methods()).toEqual(["PUT", "PUT", "PUT", "PUT"]);
  });

  for (const [title, checksum] of [
    ["without a checksum", ""],
    ["with the checksum of an upload", "<ChecksumCRC32>AQIDBA==-2</ChecksumCRC32>"],
  ]) {
    const unusable = xml(`<CopyPartResult><ETag>"e"</ETag>${checksum}</CopyPartResult>`);

    test(`${title} is read and sent, only while the source has its ETag`, async () => {
      double.play(unusable, { status: 206, headers: { "content-range": "bytes 2-5/6" }, body: BODY }, OK);
      expect(await copy()).toEqual({ kind: "stored", etag: `"e" crc32:${crcOf(BODY)}` });
      const [, read, sent] = double.requests;
      expect(read).toMatchObject({ method: "GET", headers: { range: "bytes=2-5", "if-match": SOURCE.etag } });
      expect(sent).toMatchObject({ method: "PUT", body: BODY, headers: { "x-amz-checksum-crc32": crcOf(BODY) } });
    });

    test(`${title} is none where the source or the upload is gone meanwhile`, async () => {
      double.play(unusable, s3Error(404, "NoSuchKey"), unusable, s3Error(412, "PreconditionFailed"));
      expect(await copy()).toEqual({ kind: "sourceChanged" });
      expect(await copy()).toEqual({ kind: "sourceChanged" });
      double.play(unusable, { status: 206, headers: { "content-range": "bytes 2-4/5" }, body: "bod" });
      expect(await copy()).toEqual({ kind: "sourceChanged" });
      double.play(unusable, { status: 206, headers: { "content-range": "bytes 2-5/6" }, body: BODY }, s3Error(404, "NoSuchUpload"));
      expect(await copy()).toEqual({ kind: "noSuchUpload" });
    });

    test(`${title} is a fault of the call where it is too large to be sent`, async () => {
      double.play(unusable);
      const source = { ...SOURCE, length: COPY_BY_HAND_BYTES_MAX + 1 };
      await expect(store.copyPart({ ...UPLOAD, number: 1, source })).rejects.toMatchObject({ kind: "call", code: "no-server-copy" });
    });
  }
});

describe("what S3's answers mean", () => {
  test("a key that is taken is an outcome", async () => {
    double.play(s3Error(412, "PreconditionFailed"), s3Error(412, "PreconditionFailed"));
    expect(await store.createIfAbsent("k", BODY)).toEqual({ kind: "exists" });
    expect(await store.completeUpload({ ...UPLOAD, parts: PARTS })).toEqual({ kind: "exists" });
  });

  test("a conflict of writes says retry for an object, and that an upload cannot be completed any more", async () => {
    double.play(s3Error(409, "ConditionalRequestConflict"), s3Error(409, "ConditionalRequestConflict"));
    await expect(store.createIfAbsent("k", BODY)).rejects.toMatchObject({ kind: "retry" });
    expect(await store.completeUpload({ ...UPLOAD, parts: PARTS })).toEqual({ kind: "noSuchUpload" });
  });

  test("absence is an outcome", async () => {
    double.play(s3Error(404, "NoSuchKey"), s3Error(404, "NoSuchKey"), { status: 404 }, { status: 200 });
    expect(await store.get("k")).toEqual({ kind: "absent" });
    expect(await store.getRange("k", { offset: 0, length: 1 })).toEqual({ kind: "absent" });
    expect(await store.head("k")).toEqual({ kind: "absent" });
  });

  test("uploads that are gone and parts that do not fit are outcomes", async () => {
    double.play(
      s3Error(404, "NoSuchUpload"),
      s3Error(404, "NoSuchUpload"),
      s3Error(404, "NoSuchUpload"),
      s3Error(400, "InvalidPart"),
      s3Error(400, "InvalidPartOrder"),
    );
    expect(await store.uploadPart({ ...UPLOAD, number: 1, body: BODY })).toEqual({ kind: "noSuchUpload" });
    await store.abortUpload(UPLOAD);
    expect(await store.completeUpload({ ...UPLOAD, parts: PARTS })).toEqual({ kind: "noSuchUpload" });
    expect(await store.completeUpload({ ...UPLOAD, parts: PARTS })).toEqual({ kind: "invalidPart" });
    expect(await store.completeUpload({ ...UPLOAD, parts: [...PARTS].reverse() })).toEqual({ kind: "invalidPart" });
  });

  test("an upload that was begun with other checksums is as good as gone: nobody has to go on with it", async () => {
    const mismatch = invalidRequest("Checksum Type mismatch occurred, expected checksum Type: null, actual checksum Type: crc32");
    const incomplete = invalidRequest("The upload was created using a crc32 checksum. The complete request must include the checksum for each part.");
    double.play(mismatch, mismatch, incomplete);
    expect(await store.uploadPart({ ...UPLOAD, number: 1, body: BODY })).toEqual({ kind: "noSuchUpload" });
    expect(await store.copyPart({ ...UPLOAD, number: 1, source: { key: "s", etag: `"s"`, offset: 0, length: 4 } })).toEqual({ kind: "noSuchUpload" });
    expect(await store.completeUpload({ ...UPLOAD, parts: PARTS })).toEqual({ kind: "noSuchUpload" });
  });

  test("what else is wrong about a request for an upload stays a fault", async () => {
    const locked = invalidRequest("Content-MD5 OR x-amz-checksum- HTTP header is required for Put Part requests with Object Lock parameters");
    double.play(locked, locked);
    const refused = { kind: "bug", code: "refused-request" };
    await expect(store.uploadPart({ ...UPLOAD, number: 1, body: BODY })).rejects.toMatchObject(refused);
    await expect(store.completeUpload({ ...UPLOAD, parts: PARTS })).rejects.toMatchObject(refused);
  });

  test("a completion that S3 answers with 200 and an error in it is none", async () => {
    double.play({ ...s3Error(200, "InternalError") });
    await expect(store.completeUpload({ ...UPLOAD, parts: PARTS })).rejects.toMatchObject({ kind: "retry" });
  });

  test("passing refusals and lost replies say retry", async () => {
    for (const reply of [
      s3Error(503, "SlowDown"),
      s3Error(500, "InternalError"),
      s3Error(400, "RequestTimeout"),
      s3Error(409, "OperationAborted"),
      s3Error(503, "KMS.DependencyTimeoutException"),
      s3Error(400, "KMS.ThrottlingException"),
      { status: 502, body: "bad gateway" },
      "cut",
    ] as const) {
      double.play(reply);
      await expect(store.createIfAbsent("k", BODY), JSON.stringify(reply)).rejects.toMatchObject({
        kind: "retry",
        message: expect.stringContaining(`bucket "states"`),
      });
    }
  });

  test("a body that is cut off says retry", async () => {
    double.play({ status: 200, headers: { "content-length": "10" }, body: "short" });
    setTimeout(() => void double.close(), 300);
    await expect(store.get("k")).rejects.toMatchObject({ kind: "retry" });
  });

  test("what the caller must correct says how", async () => {
    for (const [reply, code, remedy] of [
      [s3Error(404, "NoSuchBucket"), "no-bucket", "tidemark init"],
      [s3Error(403, "AccessDenied"), "no-access", "IAM policy"],
      [s3Error(400, "ExpiredToken"), "no-credentials", "sign in again"],
      [s3Error(403, "InvalidAccessKeyId"), "no-credentials", "sign in again"],
      [s3Error(403, "SignatureDoesNotMatch"), "no-credentials", "AWS_PROFILE"],
      [s3Error(301, "PermanentRedirect"), "wrong-region", "AWS_REGION"],
      [s3Error(400, "AuthorizationHeaderMalformed"), "wrong-region", "AWS_REGION"],
      [s3Error(403, "RequestTimeTooSkewed"), "wrong-clock", "set it"],
      [s3Error(400, "KMS.DisabledException"), "no-key", "enable the key"],
    ] as const) {
      double.play(reply);
      await expect(store.get("k")).rejects.toMatchObject({ kind: "call", code, message: expect.stringContaining(remedy), cause: expect.any(Error) });
    }
    double.play({ status: 403 }, { status: 301 });
    await expect(store.head("k")).rejects.toMatchObject({ kind: "call", code: "no-access" });
    await expect(store.head("k")).rejects.toMatchObject({ kind: "call", code: "wrong-region" });
  });

  test("a refusal that nobody expects is a fault of the program", async () => {
    double.play(s3Error(400, "MalformedXML"));
    await expect(store.get("k")).rejects.toMatchObject({ kind: "bug", code: "refused-request" });
  });
});

test("an answer that is no HTTP says retry: what was asked for may be done", async () => {
  const server = createServer((socket) => void socket.once("data", () => socket.end("HTTP/1.1 2\0 OK\r\n\r\n")));
  await once(server.listen(0, "127.0.0.1"), "listening");
  const endpoint = `http://127.0.0.1:${(server.address() as AddressInfo).port}`;
  const clients = awsClients({ endpoint, region: "eu-central-1", credentials: { accessKeyId: "test", secretAccessKey: "test" } });
  await expect(s3ObjectStore(clients.s3, { bucket: "b" }).createIfAbsent("k", BODY)).rejects.toMatchObject({ kind: "retry", code: "no-answer" });
  clients.close();
  server.close();
});

test("missing credentials and an address that is none are faults of the call", async () => {
  const { S3Client } = await import("@aws-sdk/client-s3");
  const withoutCredentials = new S3Client({
    region: "eu-central-1",
    credentials: async () => {
      throw Object.assign(new Error("no profile"), { name: "CredentialsProviderError" });
    },
  });
  await expect(s3ObjectStore(withoutCredentials, { bucket: "b" }).get("k")).rejects.toMatchObject({ kind: "call", code: "no-credentials" });
  const lost = new S3Client({
    region: "eu-central-1",
    endpoint: "http://127.0.0.1:1",
    forcePathStyle: true,
    maxAttempts: 1,
    credentials: { accessKeyId: "a", secretAccessKey: "b" },
  });
  await expect(s3ObjectStore(lost, { bucket: "b" }).get("k")).rejects.toMatchObject({ kind: "retry" });
});
