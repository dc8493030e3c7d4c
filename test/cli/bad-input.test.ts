// Each bad call is told clearly, with an exit code, and leaves nothing half-written.

import { execFile } from "node:child_process";
import { readdir, readFile, readlink, rm, symlink, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { promisify } from "node:util";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { KEY_BYTES_MAX, VALUE_BYTES_MAX } from "../../lib/model/limits.ts";
import { MAIN, makePlace, type Place, puts } from "./tidemark.ts";

let place: Place;
beforeAll(async () => {
  place = await makePlace();
  await place.run(["init"]);
  await place.run(["table", "create", "t"]);
  await place.run(["table", "create", "wide", "--shards", "2"]);
  await place.run(["append", "t"], puts({ a: 1 }));
});
afterAll(() => place.remove());

const GOOD = `{"key":"good","value":0}\n`;

/** What stands on line 3, behind a batch of two good lines, and what is said of it. */
const BAD_LINES: readonly (readonly [string, string | Buffer, RegExp])[] = [
  ["malformed JSON", `{"key":"a","value":tru}`, /line 3 is not JSON: unexpected byte 0x7d at 22/],
  ["a line that is cut", `{"key":"a","value":{"x":1`, /line 3 is not JSON: it ends too early/],
  ["JSON that is no object", `["key","a"]`, /line 3 is no JSON object/],
  ["bytes that are no UTF-8", Buffer.from([...Buffer.from(`{"key":"a","value":"`), 0xff, 0x22, 0x7d]), /line 3 is not JSON: it is not well-formed UTF-8/],
  ["no key", `{"value":1}`, /line 3 has no key/],
  ["a key twice", `{"key":"a","k":"a","value":1}`, /line 3 gives its key twice/],
  ["an unknown member", `{"key":"a","val":1}`, /line 3 has a member "val"/],
  ["an unknown op", `{"op":"PUT","key":"a","value":1}`, /line 3 has op "PUT": use "put", "delete" or "patch"/],
  ["a put without a value", `{"key":"a"}`, /line 3 is a put without a value/],
  ["a delete with a value", `{"op":"delete","key":"a","value":1}`, /line 3 is a delete with a value/],
  ["a key that is no string", `{"key":7,"value":1}`, /line 3 has a key that is no JSON string/],
  ["an empty key", `{"key":"","value":1}`, /the key in line 3 is empty: a key has 1 to 1024 bytes/],
  ["a key that is too long", `{"key":"${"k".repeat(KEY_BYTES_MAX + 1)}","value":1}`, /the key in line 3 has 1025 bytes: at most 1024/],
  ["a key that is not text", `{"key":"\\ud800","value":1}`, /the key in line 3 is not well-formed text/],
  ["a value over the limit", `{"key":"a","value":"${"v".repeat(VALUE_BYTES_MAX)}"}`, /the value in line 3 has 8388610 bytes: at most 8388608/],
  ["a line without end", `{"key":"a","value":"${"v".repeat(2 * VALUE_BYTES_MAX + 1)}`, /line 3 has more than 16777216 bytes/],
];

describe("of an input with a bad line, the batches before it are appended and nothing of its own", () => {
  // Of each run the two good lines: what the next run's last index shows.
  let last = 1;

  test.each(BAD_LINES)("%s", async (_, line, message) => {
    const sequence = last;
    last += 2;
    const input = Buffer.concat([Buffer.from(GOOD), Buffer.from(`${GOOD.trim()}\r\n`), Buffer.from(line)]);
    const { code, document, stderr } = await place.json(["append", "t", "--batch", "2", "--producer", "p", "--first-sequence", `${sequence}`], input);
    expect(code).toBe(2);
    const { error } = JSON.parse(stderr) as { error: { kind: string; message: string } };
    expect(error).toEqual({ kind: "call", code: expect.stringMatching(/^[a-z-]+$/), message: expect.stringMatching(message) });
    expect(error.message).toContain(`lines 1 to 2 are appended, nothing behind them; go on from line 3 with --first-sequence ${sequence + 1}`);
    expect(document).toMatchObject({ table: "t", complete: false, batches: 1, mutations: 2, throughLine: 2, shards: [{ shard: 0, lastIndex: last }] });
  });

  test("of a table of bytes, a value that is no base64, or a patch", async () => {
    await place.run(["table", "create", "blobs", "--value", "bytes"]);
    expect(await place.run(["append", "blobs"], `{"key":"a","value":"AA"}`)).toMatchObject({
      code: 2,
      stderr: expect.stringMatching(/line 1 has a value that is not base64/),
    });
    expect(await place.run(["append", "blobs"], `{"op":"patch","key":"a","value":"AA=="}`)).toMatchObject({
      code: 2,
      stderr: expect.stringMatching(/line 1 is a patch, but/),
    });
    expect((await place.run(["recover", "blobs"])).stdout).toBe("");
  });
});

describe("a call that cannot be meant is refused", () => {
  const calls: readonly (readonly [readonly string[], RegExp])[] = [
    [["append", "nope"], /there is no table nope: "table list" shows/],
    [["table", "create", "../x"], /"\.\.\/x" is not a table name: use lower-case/],
    [["snapshot", "../x"], /"\.\." is not a table name/],
    [["table", "create", "t"], /table t exists/],
    [["table", "update", "t"], /nothing is to be changed/],
    [["table", "update", "t", "--shards", "2"], /unknown option '--shards'/],
    [["table", "create", "u", "--shards", "0"], /--shards: write a whole number from 1 to 10000/],
    [["table", "create", "u", "--value", "xml"], /--value: write json or bytes/],
    [["snapshot", "t/1"], /table t has no shard 1: its shards are 0 to 0/],
    [["snapshot", "t/x"], /"t\/x" does not name a shard/],
    [["recover", "t", "--at", "99999"], /index 99999 lies beyond the tail of t\/0, which is \d+: ask for at most that/],
    [["recover", "t", "--at", "99999999999999999"], /is not an index/],
    [["recover", "t", "--at", "2026-11-01T12:00"], /has no time zone: write 2026-11-01T12:00Z/],
    [["recover", "wide", "--at", "1"], /wide has 2 shards, each with indexes of its own: name one, as wide\/0/],
    [["get", "t", ""], /the key is empty/],
    [["append", "t", "missing.ndjson"], /there is no .*missing\.ndjson: correct the name/],
    [["append", "t", "."], /is a directory: name a file/],
    [["append", "t", "--first-sequence", "2"], /name it with --producer/],
    [["append", "t", "--producer", "p", "--first-sequence", "-1"], /--first-sequence: write a whole number/],
    [["append", "t", "--producer", ""], /a producer has 1 to 128 bytes/],
    [["run", "--every", "soon"], /--every: write a number of seconds/],
    [["--store", "ftp://x", "status"], /"ftp:\/\/x" is not the URL of a store: it starts with neither/],
    [["--store", "file:elsewhere", "status"], /there is no store in .*elsewhere: make one with `tidemark init`/],
    [["satus"], /unknown command 'satus' \(Did you mean status\?\)/],
    [["snapshot"], /missing required argument 'target'/],
    [[], /no command is given/],
  ];
  test.each(calls)("%j", async (words, message) => {
    const { code, stdout, stderr } = await place.run(["--json", ...words]);
    expect({ code, stdout: words[0] === "append" ? "" : stdout }).toEqual({ code: 2, stdout: "" });
    const { error } = JSON.parse(stderr.trim().split("\n").at(-1) ?? "") as { error: object };
    expect(error).toEqual({ kind: "call", code: expect.stringMatching(/^[a-z-]+$/), message: expect.stringMatching(message) });
  });
});

test("a file that is recovered to is as it was when the recovery fails", async () => {
  await writeFile(join(place.directory, "kept.ndjson"), "as it was\n");
  const failed = await place.run(["recover", "t", "--at", "99999", "-o", "kept.ndjson"]);
  expect(failed.code).toBe(2);
  expect(await readFile(join(place.directory, "kept.ndjson"), "utf8")).toBe("as it was\n");
  expect((await readdir(place.directory)).sort()).toEqual([".tidemark", "kept.ndjson"]);
  expect(await place.run(["recover", "t", "-o", "/dev/null"])).toMatchObject({ code: 2, stderr: expect.stringMatching(/\/dev\/null is no regular file/) });
  expect(await place.run(["recover", "t", "-o", "no/such/file"])).toMatchObject({ code: 2 });
});

test("a link is not replaced by the file that is recovered to", async () => {
  await writeFile(join(place.directory, "kept.ndjson"), "as it was\n");
  const link = join(place.directory, "link.ndjson");
  await symlink("kept.ndjson", link);
  const { code, stderr } = await place.run(["recover", "t", "-o", "link.ndjson"]);
  expect({ code, stderr }).toEqual({ code: 2, stderr: expect.stringMatching(/link\.ndjson is a symbolic link: name a file/) });
  expect(await readlink(link)).toBe("kept.ndjson");
  expect(await readFile(link, "utf8")).toBe("as it was\n");
  await rm(link);
});

test("a store of a newer format version is left alone", async () => {
  const marker = join(place.directory, ".tidemark", "tidemark-store.json");
  const before = await readFile(marker);
  await writeFile(marker, `{"formatVersion":2}`);
  for (const words of [["init"], ["status"], ["append", "t"]]) {
    expect(await place.json(words, GOOD)).toMatchObject({
      code: 2,
      document: undefined,
      stderr: expect.stringMatching(/"code":"newer-format".*format version 2; this program reads up to 1/),
    });
  }
  await writeFile(marker, before);
});

test("a reader that has enough is no fault", async () => {
  const many = Array.from({ length: 20_000 }, (_, i) => `{"key":"${i}","value":"${"x".repeat(100)}"}\n`).join("");
  await place.run(["table", "create", "long"]);
  await place.run(["append", "long"], many);
  const shell = `${JSON.stringify(process.execPath)} ${JSON.stringify(MAIN)} --quiet recover long | head -n 1; echo "\${PIPESTATUS[0]}"`;
  const { stdout, stderr } = await promisify(execFile)("bash", ["-c", shell], { cwd: place.directory });
  expect(stderr).toBe("");
  expect(stdout.split("\n").slice(1)).toEqual(["0", ""]);
});

test("who no longer reads what is said on stderr is no fault", async () => {
  const shell = `exec 3>&1; { ${JSON.stringify(process.execPath)} ${JSON.stringify(MAIN)} recover t >/dev/null; echo "$?" >&3; } 2>&1 | exec 0<&-`;
  const { stdout } = await promisify(execFile)("bash", ["-c", shell], { cwd: place.directory });
  expect(stdout).toBe("0\n");
});
