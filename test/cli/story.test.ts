import { readdir, readFile, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { afterAll, beforeAll, expect, test } from "vitest";
import { makePlace, type Place, lines, puts } from "./tidemark.ts";

let place: Place;
beforeAll(async () => {
  place = await makePlace();
});
afterAll(() => place.remove());

test("a table's whole life on the command line", { timeout: 180_000 }, async () => {
  expect(await place.run(["init"])).toEqual({ code: 0, stdout: "file:.tidemark is ready\n", stderr: "" });
  expect((await place.json(["init"])).document).toEqual({ store: "file:.tidemark", kind: "exists" });

  const created = await place.json(["table", "create", "players", "--keep-snapshots", "2", "--capture-after", "300", "--keep-for", "0"]);
  expect(created).toMatchObject({
    code: 0,
    document: { table: "players", value: "json", shards: 1, captureAfterMs: 300_000, keepSnapshots: 2, state: "live" },
  });

  // A value is kept byte for byte: order, spaces, digits and escapes.
  const first = `{"key":"ada","value":{"score":1.50,  "big":123456789012345678901, "e":"\\u00e9"}}\n{"v":[1],"k":"bob"}\n`;
  const appended = await place.json(["append", "players", "--producer", "loader"], first);
  expect(appended).toEqual({
    code: 0,
    stderr: "",
    document: {
      table: "players",
      complete: true,
      batches: 1,
      mutations: 2,
      bytes: 67,
      throughLine: 2,
      nextSequence: "2",
      shards: [{ shard: 0, lastIndex: 2 }],
    },
  });
  const captured = await place.json(["snapshot", "players"]);
  expect(captured).toMatchObject({
    code: 0,
    document: { table: "players", shards: [{ shard: 0, captures: 1, outcome: { kind: "completed", index: 2, mutations: 2, rows: 2 } }] },
  });
  expect((await place.run(["snapshot", "players/0"])).stdout).toBe("players/0: ignored: nothing new since index 2\n");

  const more = `{"op":"patch","key":"bob","value":3}\n{"op":"delete","key":"ada"}\n\n{"key":"cy","value":null}\n`;
  await writeFile(join(place.directory, "more.ndjson"), more);
  const second = await place.run(["append", "players", "more.ndjson", "--producer", "loader", "--first-sequence", "2"]);
  expect(second.stdout).toBe("appended 3 mutations in 2 batches, 13 bytes\nplayers/0: last index 5\n");
  // The same batches again take indexes, and change nothing.
  await place.run(["append", "players", "more.ndjson", "--producer", "loader", "--first-sequence", "2"]);

  const again = await place.json(["append", "players", "more.ndjson", "--producer", "loader"]);
  expect(JSON.parse(again.stderr)).toEqual({
    warning: { message: expect.stringMatching(/^producer loader has come to sequence 3 before: .* --first-sequence 4$/) },
  });

  const head = await place.run(["recover", "players"]);
  expect(lines(head.stdout)).toEqual([
    { key: "bob", value: 3, index: 3, time: expect.stringMatching(/^20.*Z$/) },
    { key: "cy", value: null, index: 5, time: expect.any(String) },
  ]);
  expect(head.stderr).toMatch(/^players\/0: 2 records, \d+ bytes, at index 11 of 20\S+Z, from the snapshot at index 2 and 9 mutations behind it\n$/);

  const past = await place.run(["--quiet", "recover", "players/0", "--at", "3"]);
  expect(past).toMatchObject({ code: 0, stderr: "" });
  expect(past.stdout).toContain(`{"key":"ada","value":{"score":1.50,  "big":123456789012345678901, "e":"\\u00e9"},"index":1,"time":"`);
  // Index 3 lies inside of a batch: the state is that of the batch before.
  expect(lines(past.stdout)).toMatchObject([{ key: "ada" }, { key: "bob", value: [1], index: 2 }]);

  const written = await place.json(["recover", "players", "-o", "state.ndjson"]);
  expect(written).toMatchObject({
    code: 0,
    document: { table: "players", file: "state.ndjson", shards: [{ shard: 0, index: 11, from: 2, replayed: 9, records: 2, final: true, passedOver: [] }] },
  });
  expect(await readFile(join(place.directory, "state.ndjson"), "utf8")).toBe(head.stdout);
  const firstTime = (lines(past.stdout)[0] as { time: string }).time;
  expect((await place.run(["--quiet", "recover", "players", "--at", firstTime])).stdout).toBe(past.stdout);

  expect(await place.run(["get", "players", "cy"])).toEqual({ code: 0, stdout: "null\n", stderr: "" });
  expect((await place.run(["get", "players", "ada", "--at", "2"])).stdout).toBe(`{"score":1.50,  "big":123456789012345678901, "e":"\\u00e9"}\n`);
  expect((await place.json(["get", "players", "bob"])).document).toEqual({ key: "bob", value: 3, index: 3, time: expect.any(String) });
  expect(await place.json(["get", "players", "ada"])).toMatchObject({ code: 2, document: undefined, stderr: expect.stringContaining(`"code":"unknown-key"`) });

  for (const score of [1, 2]) {
    await place.run(["append", "players"], puts({ dan: score }));
    await place.run(["snapshot", "players"]);
  }
  const status = await place.json(["status", "players/0"]);
  expect(status).toMatchObject({
    code: 0,
    document: { tables: [{ table: "players", shards: [{ shard: 0, tail: 13, checkpoint: { index: 13 }, qualification: { kind: "idle" } }] }] },
  });
  expect((await place.run(["status"])).stdout).toMatch(/players\/0 {2}13 {4}13 .* nothing new/);

  const dry = await place.json(["cleanup", "players", "--dry-run"]);
  expect(dry).toMatchObject({ code: 0, document: { shards: [{ shard: 0, kind: "planned", failed: [] }] } });
  expect(await place.json(["cleanup", "players"])).toMatchObject({ code: 0, document: { shards: [{ shard: 0, kind: "cleaned", failed: [], orphans: [] }] } });
  expect(await place.run(["recover", "players/0", "--at", "1"])).toMatchObject({
    code: 2,
    stdout: "",
    stderr: expect.stringMatching(/index 1 is no longer kept of players\/0: the oldest/),
  });

  expect(await place.json(["verify", "players"])).toMatchObject({ code: 0, document: { shards: [{ shard: 0, generations: 2, findings: [] }] } });
  const [snapshot] = await objectsOf(place, "snapshots");
  const bytes = await readFile(snapshot);
  bytes[40] ^= 1;
  await writeFile(snapshot, bytes);
  const damaged = await place.run(["verify", "players"]);
  expect(damaged.code).toBe(5);
  expect(damaged.stdout).toMatch(/players\/0: damaged: .*\n {2}players\/0\/[0-9a-f]+\/snapshots\/\S+\.parquet: /);

  expect(await place.json(["table", "delete", "players"])).toMatchObject({ code: 0, document: { table: "players", deleted: true } });
  expect((await place.json(["table", "list"])).document).toEqual({ tables: [] });
  expect(await readdir(join(place.directory, ".tidemark", "objects"))).toEqual(["_store.json"]);
});

test("the shards of a table are recovered one after the other, by one time", { timeout: 120_000 }, async () => {
  await place.run(["init"]);
  await place.run(["table", "create", "many", "--shards", "3", "--value", "bytes"]);
  const entries = Object.fromEntries(Array.from({ length: 20 }, (_, i) => [`key/${i}`, Buffer.from([i, 255]).toString("base64")]));
  const appended = await place.json(["append", "many", "--batch", "7"], puts(entries));
  expect(appended).toMatchObject({ code: 0, document: { batches: 3, mutations: 20, shards: [{ shard: 0 }, { shard: 1 }, { shard: 2 }] } });
  const { stdout } = await place.run(["--quiet", "recover", "many", "--at", "2999-01-01T00:00Z"]);
  expect(Object.fromEntries(lines(stdout).map((line) => [(line as { key: string }).key, (line as { value: string }).value]))).toEqual(entries);
  expect(await place.run(["get", "many", "key/3"])).toMatchObject({ code: 0, stdout: `${entries["key/3"]}\n` });
  const indexed = await place.run(["recover", "many", "--at", "3"]);
  expect(indexed).toMatchObject({
    code: 2,
    stdout: "",
    stderr: expect.stringContaining("many has 3 shards, each with indexes of its own: name one, as many/0, or ask for a time"),
  });
});

test("one round of `run` captures what is due, and prints it", { timeout: 120_000 }, async () => {
  await place.run(["init"]);
  await place.run(["table", "create", "due", "--capture-after-mutations", "2"]);
  await place.run(["append", "due"], puts({ a: 1, b: 2 }));
  const round = await place.json(["run", "--once"]);
  expect(round).toMatchObject({ code: 0, document: { captured: [{ table: "due", shard: 0, outcome: { kind: "completed", index: 2 } }], failures: [] } });
  expect((await place.run(["run", "--once"])).stdout).toBe("");
});

async function objectsOf({ directory }: Place, folder: string): Promise<readonly string[]> {
  const root = join(directory, ".tidemark", "objects");
  const names = await readdir(root, { recursive: true });
  return names
    .filter((name) => name.includes(`/${folder}/`))
    .sort()
    .map((name) => join(root, name));
}
