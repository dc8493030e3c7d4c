import { readdir, readFile, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { afterAll, beforeAll, expect, test } from "vitest";
import { makePlace, type Place, puts } from "./tidemark.ts";

let place: Place;
beforeAll(async () => {
  place = await makePlace();
  await place.run(["init"]);
});
afterAll(() => place.remove());

/** A table with snapshots at 1 and 2, and a redo file behind. */
async function makeTable(name: string): Promise<void> {
  await place.run(["table", "create", name]);
  for (const score of [1, 2]) {
    await place.run(["append", name], puts({ ada: score }));
    await place.run(["snapshot", name]);
  }
  await place.run(["append", name], puts({ ada: 3 }));
}

async function objectsOf(table: string, kind: string): Promise<readonly string[]> {
  const root = join(place.directory, ".tidemark", "objects");
  return (await readdir(root, { recursive: true })).filter((name) => name.startsWith(`${table}/`) && name.endsWith(kind)).sort();
}

async function flip(name: string): Promise<void> {
  const path = join(place.directory, ".tidemark", "objects", name);
  const bytes = await readFile(path);
  bytes[40] ^= 1;
  await writeFile(path, bytes);
}

test("a damaged snapshot is repaired: the report says what was done, and verification is content", { timeout: 120_000 }, async () => {
  await makeTable("players");
  expect(await place.run(["repair", "players"])).toMatchObject({ code: 0, stdout: "players/0: sound: there is nothing to repair\n" });
  const newest = (await objectsOf("players", ".parquet"))[1];
  await flip(newest);
  const planned = await place.run(["repair", "players", "--dry-run"]);
  expect(planned.code).toBe(0);
  expect(planned.stdout.split("\n")).toEqual([
    "players/0: would be repaired: every state that is kept can be brought back",
    expect.stringMatching(new RegExp(`^ {2}${newest}: `)),
    `  ${newest}: would no longer count`,
    "",
  ]);
  const repaired = await place.run(["repair", "players/0"]);
  expect(repaired.code).toBe(0);
  expect(repaired.stdout.split("\n")).toEqual([
    "players/0: repaired: every state that is kept can be brought back",
    expect.stringMatching(new RegExp(`^ {2}${newest}: `)),
    `  ${newest}: no longer counts`,
    `  copied to _quarantine/${newest}`,
    `  ${newest}: let go`,
    expect.stringMatching(/^ {2}captured anew at index 3: 1 record, /),
    "",
  ]);
  expect(await place.run(["verify", "players"])).toMatchObject({ code: 0, stdout: expect.stringMatching(/^players\/0: sound/) });
  expect(await place.run(["get", "players", "ada"])).toMatchObject({ code: 0, stdout: "3\n" });
  await place.run(["table", "delete", "players"]);
  expect(await readdir(join(place.directory, ".tidemark", "objects"))).toEqual(["_store.json"]);
});

test("where the newest states are lost, they are named with what is left and how to get it", { timeout: 120_000 }, async () => {
  await makeTable("lost");
  await place.run(["append", "lost"], puts({ ada: 4 }));
  const file = (await objectsOf("lost", ".redo")).at(-2) ?? "";
  await flip(file);
  for (const words of [["--dry-run"], []]) {
    const broken = await place.run(["repair", "lost", ...words]);
    expect(broken.code).toBe(5);
    expect(broken.stdout.split("\n")).toEqual([
      "lost/0: broken: lost: indexes 3 to 4; what is left: indexes 1 to 2",
      expect.stringMatching(new RegExp(`^ {2}${file}: `)),
      "  stop its writers: what they append behind the break cannot be brought back",
      '  "tidemark recover lost/0 --at 2 -o kept.ndjson" brings back the last state there is, for a new table to begin with',
      "",
    ]);
  }
  expect(await place.json(["repair", "lost"])).toMatchObject({
    code: 5,
    document: {
      table: "lost",
      shards: [{ shard: 0, kind: "broken", findings: [{ object: file }], lost: [{ from: 3, to: 4 }], recoverable: [{ from: 1, to: 2 }] }],
    },
  });
  expect(await place.run(["recover", "lost/0", "--at", "2", "-o", "kept.ndjson"])).toMatchObject({ code: 0 });
});

test("a table or shard that is not there is a wrong call", async () => {
  expect(await place.run(["repair", "nope"])).toMatchObject({ code: 2, stderr: expect.stringContaining("there is no table nope") });
  await place.run(["table", "create", "one"]);
  expect(await place.run(["repair", "one/1"])).toMatchObject({ code: 2, stderr: expect.stringContaining("has no shard 1") });
  expect((await place.run(["repair", "--help"])).stdout).toContain("tidemark repair players --dry-run");
});
