// The law book of the object store against a real S3 server.

import { CreateBucketCommand, type S3Client } from "@aws-sdk/client-s3";
import { afterAll, beforeAll, test } from "vitest";
import { s3ObjectStore } from "../../lib/adapters/aws/object-store.ts";
import type { Deviation } from "../conformance/law.ts";
import { objectStoreLaws } from "../conformance/object-store.ts";
import { INSTALL_MS_MAX, missing, startVersitygw, type Versitygw } from "./versitygw.ts";

/** Of versitygw 1.8.0 with its posix backend, read in its source. */
const DEVIATIONS: readonly Deviation[] = [
  {
    law: "of an abort and a completion at once, either wins, and the object is whole or absent",
    shows: /to include 'invalidPart'|expected \[ \{ key: 'u\/[0-9]', …\(1\) \} \] to deeply equal \[\]/,
    why: "versitygw aborts in steps: a completion at the same time may find parts gone (InvalidPart) before the upload is, and an abort may find the upload taken and let it live; a capture starts afresh on both, cleanup aborts again",
    seldom: true,
  },
  {
    law: "creators next to deleters of the last neighbour never fail",
    shows: /ExistingObjectIsDirectory/,
    why: "versitygw removes a folder with its last object, and refuses a key that is created there at the same moment",
    seldom: true,
  },
];

const lacks = await missing();
if (lacks !== undefined) test("versitygw keeps the laws of an object store", ({ skip }) => skip(lacks));
else proveLaws();

function proveLaws(): void {
  let server: Versitygw | undefined;
  let s3: S3Client;
  let buckets = 0;
  beforeAll(async () => {
    server = await startVersitygw();
    s3 = server.client();
  }, INSTALL_MS_MAX);
  afterAll(async () => {
    if (server === undefined) return;
    s3.destroy();
    await server.stop();
  });

  // Once as most will have it, and once where keys are hard to write in a URL and in XML.
  for (const prefix of ["", "odd é+%20 &=?#'()*~<>/"]) {
    const open = async () => {
      const bucket = `law-${++buckets}`;
      await s3.send(new CreateBucketCommand({ Bucket: bucket }));
      return { store: s3ObjectStore(s3, { bucket, prefix }), dispose: async () => {} };
    };
    objectStoreLaws(prefix === "" ? "S3 by versitygw" : `S3 by versitygw, behind ${JSON.stringify(prefix)},`, open, DEVIATIONS);
  }
}
