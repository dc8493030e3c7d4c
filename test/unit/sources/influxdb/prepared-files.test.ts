import { expect, test } from "vitest";
import { prepareFiles } from "../../../../lib/sources/influxdb/prepared-files.ts";
import { TOMBSTONE_BYTES_MAX } from "../../../../lib/sources/influxdb/tsm/limits.ts";
import { aFile, aShard } from "./samples.ts";

test("more deletions than are held at once are a limit, not damage, and what takes the file as it is is named", async () => {
  const tombstone = { ...aFile({ name: "000000001-000000001.tombstone" }), bytes: TOMBSTONE_BYTES_MAX + 1 };
  const backup = { async *read() {}, reader: () => async () => Buffer.alloc(0) };
  await expect(prepareFiles(backup, aShard({ shard: 7, files: [aFile(), tombstone] }), { tombstones: "applied" })).rejects.toMatchObject({
    kind: "call",
    code: "too-large",
    message: expect.stringContaining("--format data"),
  });
});
