import { expect, test } from "vitest";
import { prepareFiles } from "../../../../lib/sources/influxdb/prepared-files.ts";
import { TOMBSTONE_BYTES_MAX } from "../../../../lib/sources/influxdb/tsm/limits.ts";
import { aFile, aShard } from "./samples.ts";
import { integers, sourceOf, tombstoneFile, tsmOf } from "./tsm/files.ts";

const KEY = "cpu,host=a#!~#v";
const whole = tsmOf([{ key: KEY, blocks: [integers([1n, 2n, 3n])] }]);

test.each([
  ["as large as one may be is applied", TOMBSTONE_BYTES_MAX, "rewritten"],
  ["that is larger is refused before it is read, and what takes it as it is is named", TOMBSTONE_BYTES_MAX + 1, "call too-large --format data"],
])("a tombstone file %s", async (_, bytes, expected) => {
  const files = [
    { ...aFile({ name: "000000001-000000001.tsm" }), bytes: whole.length },
    { ...aFile({ name: "000000001-000000001.tombstone" }), bytes },
  ];
  const backup = {
    async *read({ object }: { readonly object: string }) {
      yield object.includes(".tsm") ? whole : tombstoneFile([[{ key: KEY, min: 2n, max: 2n }]]);
    },
    reader: () => sourceOf(whole).read,
  };
  const made = prepareFiles(backup, aShard({ shard: 7, files }), { tombstones: "applied" }).then(
    ([one]) => (one.isRewritten ? "rewritten" : "as it was"),
    ({ kind, code, message }) => `${kind} ${code} ${/--format data/.exec(message)}`,
  );
  expect(await made).toBe(expected);
});
