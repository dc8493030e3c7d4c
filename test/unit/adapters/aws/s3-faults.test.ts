// What S3 answers on bad days, played to the adapter through the SDK with its repetitions.

import { afterEach, beforeEach, describe, expect, test } from "vitest";
import { ATTEMPTS_MAX } from "../../../../lib/adapters/aws/clients.ts";
import { s3ObjectStore } from "../../../../lib/adapters/aws/object-store.ts";
import type { ObjectStore } from "../../../../lib/ports/object-store.ts";
import { type HttpDouble, httpDouble, type Played, type Reply, s3Error, xml } from "./http-double.ts";

const SILENCE_MS_MAX = 300;

let double: HttpDouble;
let store: ObjectStore;
beforeEach(async () => {
  double = await httpDouble({ attemptsMax: ATTEMPTS_MAX, silenceMsMax: SILENCE_MS_MAX });
  store = s3ObjectStore(double.s3, { bucket: "states" });
});
afterEach(() => double.close());

const BODY = Buffer.from("0123456789");
const UPLOAD = { key: "k", uploadId: "id" };
const PARTS = [{ number: 1, etag: `"e1" crc32:AAAAAA==` }];
const STORED: Reply = { status: 200, headers: { etag: `"e"` } };
const COPIED = xml(`<CopyPartResult><ETag>"e"</ETag><ChecksumCRC32>AQIDBA==</ChecksumCRC32></CopyPartResult>`);
const COMPLETED = xml("<CompleteMultipartUploadResult><ETag>e</ETag></CompleteMultipartUploadResult>");
const FOUND: Reply = { status: 200, headers: { "content-length": "10" }, body: BODY };

const copy = () => store.copyPart({ ...UPLOAD, number: 1, source: { key: "s", etag: `"s"`, offset: 0, length: 4 } });

describe("a lost reply", () => {
  const create = () => store.createIfAbsent("k", BODY);
  const complete = () => store.completeUpload({ ...UPLOAD, parts: PARTS });
  const cases: readonly (readonly [title: string, call: () => Promise<unknown>, second: Reply, outcome: unknown])[] = [
    ["of a PUT that took effect: the key is taken, by whom the object says", create, s3Error(412, "PreconditionFailed"), { kind: "exists" }],
    ["of a PUT that took none: the object is created", create, STORED, { kind: "created" }],
    ["of a part: it is stored again", () => store.uploadPart({ ...UPLOAD, number: 1, body: BODY }), STORED, { kind: "stored", etag: expect.any(String) }],
    ["of a copy: it is made again", copy, COPIED, { kind: "stored", etag: `"e" crc32:AQIDBA==`, crc32: 0x01020304 }],
    ["of a copy whose source was deleted behind it: the source is gone", copy, s3Error(404, "NoSuchKey"), { kind: "sourceChanged" }],
    ["of a completion: S3 tells its success again", complete, COMPLETED, { kind: "completed" }],
    ["of a completion that S3 has forgotten: the upload is gone", complete, s3Error(404, "NoSuchUpload"), { kind: "noSuchUpload" }],
    ["of a completion whose object stands: the key is taken", complete, s3Error(412, "PreconditionFailed"), { kind: "exists" }],
    [
      "of a new upload: there is another",
      () => store.createUpload("k"),
      xml("<InitiateMultipartUploadResult><UploadId>id2</UploadId></InitiateMultipartUploadResult>"),
      { uploadId: "id2" },
    ],
    ["of deletes: they are done again", () => store.deleteMany(["a", "b"]), xml("<DeleteResult/>"), { failed: [] }],
    ["of an abort: the upload is gone", () => store.abortUpload(UPLOAD), s3Error(404, "NoSuchUpload"), undefined],
  ];

  for (const [title, call, second, outcome] of cases) {
    test(title, async () => {
      double.play("cut", second);
      expect(await call()).toEqual(outcome);
      const [first, again] = double.requests;
      expect(double.requests).toHaveLength(2);
      expect([again.method, again.path, again.body]).toEqual([first.method, first.path, first.body]);
    });
  }

  test("of every attempt says retry, and no attempt is made beyond the bound", async () => {
    double.play(...Array.from({ length: 10 }, () => "cut" as const));
    await expect(create()).rejects.toMatchObject({ kind: "retry", code: "no-answer" });
    expect(double.requests).toHaveLength(ATTEMPTS_MAX);
  });
});

describe("passing refusals", () => {
  test("SlowDown is repeated, and the call succeeds", async () => {
    double.play(s3Error(503, "SlowDown"), s3Error(503, "SlowDown"), STORED);
    expect(await store.createIfAbsent("k", BODY)).toEqual({ kind: "created" });
  });

  test("SlowDown without an end says retry", async () => {
    double.play(...Array.from({ length: 10 }, () => s3Error(503, "SlowDown")));
    await expect(store.list({ prefix: "" })).rejects.toMatchObject({ kind: "retry", message: expect.stringContaining("SlowDown") });
    expect(double.requests).toHaveLength(ATTEMPTS_MAX);
  });

  test("409 ConditionalRequestConflict is not repeated by the SDK: the port's caller settles it", async () => {
    double.play(s3Error(409, "ConditionalRequestConflict"), s3Error(409, "ConditionalRequestConflict"));
    await expect(store.createIfAbsent("k", BODY)).rejects.toMatchObject({ kind: "retry" });
    expect(await store.completeUpload({ ...UPLOAD, parts: PARTS })).toEqual({ kind: "noSuchUpload" });
    expect(double.requests).toHaveLength(2);
  });
});

describe("a completion that S3 answers with 200 OK", () => {
  const complete = () => store.completeUpload({ ...UPLOAD, parts: PARTS });
  const blanks = (reply: Reply): Reply => ({ ...reply, status: 200, body: `<?xml version="1.0"?>   \n ${String(reply.body).replace(/^<\?xml[^>]*>/, "")}` });

  test("and a passing error in the body is tried again", async () => {
    double.play(blanks(s3Error(200, "InternalError")), s3Error(200, "SlowDown"), COMPLETED);
    expect(await complete()).toEqual({ kind: "completed" });
    expect(double.requests).toHaveLength(3);
  });

  test("and an error in the body that stays is what the error says", async () => {
    for (const [code, outcome] of [
      ["PreconditionFailed", { kind: "exists" }],
      ["NoSuchUpload", { kind: "noSuchUpload" }],
      ["InvalidPart", { kind: "invalidPart" }],
    ] as const) {
      double.play(...Array.from({ length: ATTEMPTS_MAX }, () => blanks(s3Error(200, code))));
      expect(await complete(), code).toEqual(outcome);
    }
    double.play(...Array.from({ length: ATTEMPTS_MAX }, () => s3Error(200, "InternalError")));
    await expect(complete()).rejects.toMatchObject({ kind: "retry" });
  }, 30_000);

  test("and no body, half a body, or a body that is not S3's, is not complete", async () => {
    const half: Reply = { ...COMPLETED, breaksAfter: 30 };
    for (const reply of [{ status: 200 }, half]) {
      double.play(reply, COMPLETED);
      expect(await complete()).toEqual({ kind: "completed" });
    }
    double.play({ status: 200, body: "<html><body>Welcome</body></html>" });
    await expect(complete()).rejects.toMatchObject({ kind: "retry", code: "unreadable-answer" });
  });
});

describe("a body", () => {
  test("that breaks off half-way, or stalls, is asked for again", async () => {
    for (const broken of [
      { ...FOUND, breaksAfter: 5 },
      { ...FOUND, stallsAfter: 5 },
    ]) {
      double.play(broken, FOUND);
      expect(await store.get("k")).toEqual({ kind: "found", body: BODY, size: 10 });
      const part = { ...broken, status: 206, headers: { ...FOUND.headers, "content-range": "bytes 0-9/100" } };
      double.play(part, { status: 206, headers: part.headers, body: BODY });
      expect(await store.getRange("k", { offset: 0, length: 10 })).toEqual({ kind: "found", body: BODY, size: 100 });
    }
  });

  test("that breaks off each time says retry", async () => {
    double.play(...Array.from({ length: 10 }, () => ({ ...FOUND, breaksAfter: 5 })));
    await expect(store.get("k")).rejects.toMatchObject({ kind: "retry", code: "unreadable-answer", cause: expect.any(Error) });
    expect(double.requests).toHaveLength(3);
  });

  test("with another checksum than S3 says is asked for again", async () => {
    const changed: Reply = { ...FOUND, headers: { ...FOUND.headers, "x-amz-checksum-crc32": "AAAAAA==" } };
    double.play(changed, FOUND);
    expect(await store.get("k")).toEqual({ kind: "found", body: BODY, size: 10 });
  });
});

test("silence ends after its limit, and is tried again", async () => {
  double.play("silent", STORED);
  expect(await store.createIfAbsent("k", BODY)).toEqual({ kind: "created" });
  double.play(...Array.from({ length: 10 }, () => "silent" as const));
  const startedAt = performance.now();
  await expect(store.createIfAbsent("k", BODY)).rejects.toMatchObject({ kind: "retry", message: expect.stringContaining("TimeoutError") });
  expect(performance.now() - startedAt).toBeLessThan(ATTEMPTS_MAX * (SILENCE_MS_MAX + 2_000));
});

describe("what the caller must correct says how", () => {
  const region = { "x-amz-bucket-region": "eu-west-3" };
  const cases: readonly (readonly [title: string, call: () => Promise<unknown>, reply: Played, fault: { kind: string; code: string }, says: string])[] = [
    ["expired credentials", () => store.list({ prefix: "" }), s3Error(400, "ExpiredToken"), { kind: "call", code: "no-credentials" }, "sign in again"],
    ["a redirect names the region", () => store.get("k"), s3Error(301, "PermanentRedirect", "", region), { kind: "call", code: "wrong-region" }, "eu-west-3"],
    ["a redirect of HEAD too", () => store.head("k"), { status: 301, headers: region }, { kind: "call", code: "wrong-region" }, "eu-west-3"],
    ["a refusal of HEAD for its region", () => store.head("k"), { status: 400, headers: region }, { kind: "call", code: "wrong-region" }, "eu-west-3"],
    [
      "a temporary redirect with the region",
      () => store.get("k"),
      s3Error(307, "TemporaryRedirect", "", region),
      { kind: "call", code: "wrong-region" },
      "eu-west-3",
    ],
    ["a temporary redirect of a new bucket", () => store.get("k"), s3Error(307, "TemporaryRedirect"), { kind: "wait", code: "new-bucket" }, "some minutes"],
    [
      "a signature for another region",
      () => store.get("k"),
      s3Error(400, "AuthorizationHeaderMalformed", "<Region>eu-west-3</Region>"),
      { kind: "call", code: "wrong-region" },
      "eu-west-3",
    ],
    // To one who may not list, S3 denies what is absent: that must never look like absence.
    ["reading without the right to list", () => store.get("k"), s3Error(403, "AccessDenied"), { kind: "call", code: "no-access" }, "s3:ListBucket"],
    [
      "reading a range",
      () => store.getRange("k", { offset: 0, length: 1 }),
      s3Error(403, "AccessDenied"),
      { kind: "call", code: "no-access" },
      "s3:ListBucket",
    ],
    ["looking", () => store.head("k"), { status: 403 }, { kind: "call", code: "no-access" }, "s3:ListBucket"],
    ["creating", () => store.createIfAbsent("k", BODY), s3Error(403, "AccessDenied"), { kind: "call", code: "no-access" }, "s3:PutObject"],
    ["copying", copy, s3Error(403, "AccessDenied"), { kind: "call", code: "no-access" }, "s3:PutObject, and s3:GetObject"],
    ["deleting", () => store.deleteMany(["k"]), s3Error(403, "AccessDenied"), { kind: "call", code: "no-access" }, "s3:DeleteObject"],
    [
      "listing uploads",
      () => store.listUploads({ prefix: "" }),
      s3Error(403, "AccessDenied"),
      { kind: "call", code: "no-access" },
      "s3:ListBucketMultipartUploads",
    ],
    ["aborting", () => store.abortUpload(UPLOAD), s3Error(403, "AccessDenied"), { kind: "call", code: "no-access" }, "s3:AbortMultipartUpload"],
    [
      "a page of some web server",
      () => store.get("k"),
      { status: 404, body: "<html>no</html>" },
      { kind: "call", code: "bad-endpoint" },
      "correct the endpoint",
    ],
  ];

  for (const [title, call, reply, fault, says] of cases) {
    test(title, async () => {
      double.play(reply);
      await expect(call()).rejects.toMatchObject({ ...fault, message: expect.stringContaining(says) });
      expect(double.requests).toHaveLength(1);
    });
  }
});

describe("what is no S3, but says 200 OK to everything,", () => {
  const welcome: Reply = { status: 200, headers: { "content-type": "text/html" }, body: "<html><body>Welcome</body></html>" };

  test("creates nothing and lists nothing", async () => {
    double.play(welcome, welcome, welcome, welcome, welcome, welcome, welcome);
    await expect(store.createIfAbsent("k", BODY)).rejects.toMatchObject({ code: "unreadable-answer" });
    await expect(store.list({ prefix: "" })).rejects.toMatchObject({ code: "unreadable-answer" });
    await expect(store.listUploads({ prefix: "" })).rejects.toMatchObject({ code: "unreadable-answer" });
    await expect(store.createUpload("k")).rejects.toMatchObject({ code: "unreadable-answer" });
    await expect(store.uploadPart({ ...UPLOAD, number: 1, body: BODY })).rejects.toMatchObject({ code: "unreadable-answer" });
    await expect(copy()).rejects.toMatchObject({ kind: "retry" });
    await expect(store.head("k")).rejects.toMatchObject({ code: "unreadable-answer" });
  });
});

describe("HEAD of an absent object", () => {
  test("asks once whether the bucket is there", async () => {
    double.play({ status: 404 }, { status: 200 }, { status: 404 });
    expect(await store.head("k")).toEqual({ kind: "absent" });
    expect(await store.head("l")).toEqual({ kind: "absent" });
    expect(double.requests.map(({ path }) => path)).toEqual(["/states/k", "/states/", "/states/l"]);
  });

  test("in a bucket that is missing says so, each time", async () => {
    double.play({ status: 404 }, { status: 404 }, { status: 404 }, { status: 404 });
    for (const key of ["k", "l"]) await expect(store.head(key)).rejects.toMatchObject({ kind: "call", code: "no-bucket" });
  });

  test("is absence where the bucket may not be looked at as a whole", async () => {
    double.play({ status: 404 }, { status: 403 });
    expect(await store.head("k")).toEqual({ kind: "absent" });
  });
});

describe("a page of uploads that cannot be begun behind an upload", () => {
  const upload = (key: string, id: string) => `<Upload><Key>${key}</Key><UploadId>${id}</UploadId></Upload>`;
  const page = (...uploads: readonly string[]) =>
    xml(`<ListMultipartUploadsResult><IsTruncated>false</IsTruncated>${uploads.join("")}</ListMultipartUploadsResult>`);
  const after = { key: "k", uploadId: "u2" };

  test("goes on among the uploads of its key", async () => {
    double.play(s3Error(400, "InvalidArgument"), page(upload("k", "u1"), upload("k", "u2"), upload("k", "u3"), upload("kk", "u4")));
    expect(await store.listUploads({ prefix: "", after })).toEqual({ uploads: [{ key: "k", uploadId: "u3" }], next: { key: "k", uploadId: "u3" } });
  });

  test("goes on behind its key where no other is left", async () => {
    double.play(s3Error(400, "InvalidArgument"), page(upload("k", "u2")), page(upload("l", "u5")));
    expect(await store.listUploads({ prefix: "", after })).toEqual({ uploads: [{ key: "l", uploadId: "u5" }] });
    expect(double.requests[2].path).toContain("key-marker=k");
    expect(double.requests[2].path).not.toContain("upload-id-marker");
  });
});
