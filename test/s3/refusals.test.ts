// What a real S3 server refuses, and what the caller is told to correct.

import { CreateBucketCommand } from "@aws-sdk/client-s3";
import { afterAll, beforeAll, expect, test } from "vitest";
import { awsClients } from "../../lib/adapters/aws/clients.ts";
import { s3ObjectStore } from "../../lib/adapters/aws/object-store.ts";
import { createTable } from "../../lib/jobs/tables.ts";
import type { ObjectStore } from "../../lib/ports/object-store.ts";
import type { World } from "../../lib/ports/world.ts";
import { capture } from "../../lib/snapshot/capture.ts";
import { appendEach, id, memoryWorld, noAnswer, put, withObjects } from "../unit/jobs/world.ts";
import { CREDENTIALS, INSTALL_MS_MAX, missing, REGION, startVersitygw, type Versitygw } from "./versitygw.ts";

const BODY = Buffer.from("body");
const UPLOAD = { key: "k", uploadId: "5f4e1f4e-7c9c-4b0e-8a53-0a9d3d0b8f7a" };

const CALLS: Readonly<Record<string, (store: ObjectStore) => Promise<unknown>>> = {
  createIfAbsent: (store) => store.createIfAbsent("k", BODY),
  get: (store) => store.get("k"),
  getRange: (store) => store.getRange("k", { offset: 0, length: 1 }),
  "getRange of nothing": (store) => store.getRange("k", { offset: 0, length: 0 }),
  head: (store) => store.head("k"),
  list: (store) => store.list({ prefix: "" }),
  deleteMany: (store) => store.deleteMany(["k"]),
  createUpload: (store) => store.createUpload("k"),
  uploadPart: (store) => store.uploadPart({ ...UPLOAD, number: 1, body: BODY }),
  copyPart: (store) => store.copyPart({ ...UPLOAD, number: 1, source: { key: "s", etag: `"e"`, offset: 0, length: 1 } }),
  completeUpload: (store) => store.completeUpload({ ...UPLOAD, parts: [{ number: 1, etag: `"841a2d689ad86bd1611447453c22c6fc"` }] }),
  abortUpload: (store) => store.abortUpload(UPLOAD),
  listUploads: (store) => store.listUploads({ prefix: "" }),
};

const lacks = await missing();
if (lacks !== undefined) test("refusals of versitygw", ({ skip }) => skip(lacks));
else proveRefusals();

function proveRefusals(): void {
  let server: Versitygw | undefined;
  let endpoint: string;
  beforeAll(async () => {
    server = await startVersitygw();
    endpoint = server.endpoint;
  }, INSTALL_MS_MAX);
  afterAll(() => server?.stop());

  for (const [name, call] of Object.entries(CALLS)) {
    test(`${name} in a bucket that is missing says so`, async () => {
      const clients = awsClients({ region: REGION, endpoint, credentials: CREDENTIALS });
      await expect(call(s3ObjectStore(clients.s3, { bucket: "nowhere" }))).rejects.toMatchObject({
        kind: "call",
        code: "no-bucket",
        message: expect.stringContaining("tidemark init"),
      });
      clients.close();
    });

    test(`${name} with a wrong secret says that the credentials are wrong`, async () => {
      const clients = awsClients({ region: REGION, endpoint, credentials: { ...CREDENTIALS, secretAccessKey: "wrong" } });
      const { code } = await call(s3ObjectStore(clients.s3, { bucket: "nowhere" })).then(
        () => ({ code: "none" }),
        (error) => error,
      );
      // An answer to HEAD has no body that could tell more.
      expect(code).toBe(["head", "getRange of nothing"].includes(name) ? "no-access" : "no-credentials");
      clients.close();
    });
  }

  test("a capture that was begun with checksums of parts is made afresh by who was told to use none", async () => {
    const [checked, unchecked] = ([undefined, "none"] as const).map((checksums) => ({
      checksums,
      clients: awsClients({ region: REGION, endpoint, credentials: CREDENTIALS, checksums }),
    }));
    await checked.clients.s3.send(new CreateBucketCommand({ Bucket: "checksums" }));
    const world = memoryWorld();
    const on = ({ checksums, clients }: typeof checked): World => ({ ...world, objects: s3ObjectStore(clients.s3, { bucket: "checksums", checksums }) });
    await createTable(on(checked), { name: id.table });
    await appendEach(on(checked), [[put("a", 1)]]);
    const killed = withObjects(on(checked), () => ({ uploadPart: () => Promise.reject(noAnswer()) }));
    await expect(capture(killed, { id, codec: "json" })).rejects.toMatchObject({ kind: "retry" });
    expect(await capture(on(unchecked), { id, codec: "json" })).toMatchObject({ kind: "aborted" });
    expect(await capture(on(unchecked), { id, codec: "json" })).toMatchObject({ kind: "completed", index: 1 });
    for (const { clients } of [checked, unchecked]) clients.close();
  });
}
