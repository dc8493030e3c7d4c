import { chmod, mkdir, mkdtemp, readdir, readFile, rename, rm, stat, symlink, utimes, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { DatabaseSync } from "node:sqlite";
import { afterEach, beforeEach, describe, expect, test } from "vitest";
import { localCheckpointStore } from "../../../../lib/adapters/local/checkpoint-store.ts";
import { fileFault } from "../../../../lib/adapters/local/faults.ts";
import { initLocalStore, type LocalStore, openLocalStore } from "../../../../lib/adapters/local/store.ts";
import { isOrphan, temporaryName } from "../../../../lib/adapters/local/temporary-files.ts";
import { local } from "../../../../lib/local.ts";

const SOURCE = { key: "s", etag: "e", offset: 0, length: 1 };

let directory: string;
beforeEach(async () => {
  directory = await mkdtemp(join(tmpdir(), "tidemark-local-"));
});
afterEach(() => rm(directory, { recursive: true, force: true }));

async function withStore(use: (store: LocalStore) => Promise<void>): Promise<void> {
  await initLocalStore(directory);
  const store = await openLocalStore(directory);
  try {
    await use(store);
  } finally {
    await store.close();
  }
}

describe("making and opening a store", () => {
  test("a store is made once, and making it again keeps what it holds", async () => {
    expect(await initLocalStore(directory)).toEqual({ kind: "created" });
    expect(JSON.parse(await readFile(join(directory, "tidemark-store.json"), "utf8"))).toEqual({ formatVersion: 1 });
    const first = await openLocalStore(directory);
    await first.objects.createIfAbsent("a/b", Buffer.from("kept"));
    await first.checkpoints.write([{ item: { partition: "p", sort: "s" }, when: [], put: { kept: true } }]);
    await first.close();
    expect(await initLocalStore(directory)).toEqual({ kind: "exists" });
    const second = await openLocalStore(directory);
    expect(await second.objects.get("a/b")).toEqual({ kind: "found", body: Buffer.from("kept"), size: 4 });
    expect(await second.checkpoints.get({ partition: "p", sort: "s" })).toMatchObject({ attributes: { kept: true } });
    await second.close();
    await second.close();
  });

  test("a directory without a store is refused with the way to make one", async () => {
    for (const path of [directory, join(directory, "absent")]) {
      await expect(openLocalStore(path)).rejects.toMatchObject({ kind: "call", code: "no-store", message: expect.stringContaining("tidemark init") });
    }
    expect(await readdir(directory)).toEqual([]);
  });

  test("a directory that holds something else is refused and left as it is", async () => {
    await writeFile(join(directory, "thesis.txt"), "mine");
    await expect(initLocalStore(directory)).rejects.toMatchObject({ kind: "call", code: "not-a-store", message: expect.stringContaining("thesis.txt") });
    expect(await readdir(directory)).toEqual(["thesis.txt"]);
  });

  test("a directory with objects but without a marker is not taken for an init that was cut short", async () => {
    await mkdir(join(directory, "objects", "ab"), { recursive: true });
    await expect(initLocalStore(directory)).rejects.toMatchObject({ kind: "call", code: "not-a-store" });
  });

  test("an init that was cut short is finished", async () => {
    await initLocalStore(directory);
    await rm(join(directory, "tidemark-store.json"));
    await rm(join(directory, "uploads"), { recursive: true });
    expect(await initLocalStore(directory)).toEqual({ kind: "created" });
    await (await openLocalStore(directory)).close();
  });

  test("a file in the place of the directory is refused", async () => {
    const path = join(directory, "file");
    await writeFile(path, "");
    await expect(initLocalStore(path)).rejects.toMatchObject({ kind: "call" });
    await expect(openLocalStore(path)).rejects.toMatchObject({ kind: "call", code: "no-store" });
  });

  test("a store of a newer version is refused and left as it is", async () => {
    await initLocalStore(directory);
    await writeFile(join(directory, "tidemark-store.json"), `{"formatVersion":2}`);
    for (const use of [openLocalStore, initLocalStore]) await expect(use(directory)).rejects.toMatchObject({ kind: "call", code: "newer-format" });
  });

  test("a checkpoint database of a newer version is refused", async () => {
    await initLocalStore(directory);
    const database = new DatabaseSync(join(directory, "checkpoints.sqlite"));
    database.exec("PRAGMA user_version = 2");
    database.close();
    await expect(openLocalStore(directory)).rejects.toMatchObject({ kind: "call", code: "newer-format" });
  });

  test("a damaged marker and a damaged database are named", async () => {
    await initLocalStore(directory);
    await writeFile(join(directory, "checkpoints.sqlite"), Buffer.alloc(10_000, "garbage"));
    await expect(openLocalStore(directory)).rejects.toMatchObject({
      kind: "repair",
      code: "damaged-object",
      message: expect.stringContaining("checkpoints.sqlite"),
    });
    await writeFile(join(directory, "tidemark-store.json"), "{");
    await expect(openLocalStore(directory)).rejects.toMatchObject({
      kind: "repair",
      code: "damaged-object",
      message: expect.stringContaining("tidemark-store.json"),
    });
  });

  test.each(["objects", "checkpoints.sqlite"])("a store that lost its %s is not taken for an empty one, nor made anew", async (part) => {
    await initLocalStore(directory);
    await rm(join(directory, part), { recursive: true });
    const calls = [openLocalStore, initLocalStore, (path: string) => local({ directory: path }).open()];
    for (const call of calls) {
      await expect(call(directory)).rejects.toMatchObject({ kind: "call", code: "incomplete-store", message: expect.stringContaining(`lost its ${part}`) });
    }
    expect(await readdir(directory)).not.toContain(part);
  });

  test.each(["tmp", "uploads"])("a store without %s, which holds nothing that is stored, is made whole by init", async (part) => {
    await initLocalStore(directory);
    await rm(join(directory, part), { recursive: true });
    await expect(openLocalStore(directory)).rejects.toMatchObject({
      kind: "call",
      code: "incomplete-store",
      message: expect.stringContaining("tidemark init"),
    });
    expect(await initLocalStore(directory)).toEqual({ kind: "exists" });
    await (await openLocalStore(directory)).close();
  });

  test("a database that another connection holds for too long says retry", async () => {
    await initLocalStore(directory);
    const path = join(directory, "checkpoints.sqlite");
    const holder = new DatabaseSync(path);
    const store = localCheckpointStore(path, { busyTimeoutMs: 50 });
    holder.exec("BEGIN IMMEDIATE");
    await expect(store.write([{ item: { partition: "p", sort: "s" }, when: [], put: {} }])).rejects.toMatchObject({ kind: "retry", code: "busy" });
    holder.exec("ROLLBACK");
    expect(await store.write([{ item: { partition: "p", sort: "s" }, when: [], put: {} }])).toEqual({ kind: "written" });
    store.close();
    holder.close();
  });

  test("a full database says wait, and the write is undone", async () => {
    await initLocalStore(directory);
    const path = join(directory, "checkpoints.sqlite");
    const store = localCheckpointStore(path, { pagesMax: 20 });
    const big = { item: { partition: "p", sort: "big" }, when: [], put: { text: "x".repeat(300_000) } };
    await expect(store.write([{ item: { partition: "p", sort: "a" }, when: [], put: {} }, big])).rejects.toMatchObject({ kind: "wait", code: "no-space" });
    expect((await store.query({ partition: "p" })).items).toEqual([]);
    expect(await store.write([{ item: { partition: "p", sort: "a" }, when: [], put: {} }])).toEqual({ kind: "written" });
    store.close();
  });
});

describe("keys and names", () => {
  test("a key that leads out of the store, or names no file, is refused by every call", async () => {
    await withStore(async ({ objects }) => {
      for (const key of ["../escape", "a/../../escape", "a/..", "/etc/passwd", "", "a//b", "a/", "./a", "a/./b", "a\0b", "a\\b", "\ud800"]) {
        const calls = [
          () => objects.createIfAbsent(key, Buffer.from("x")),
          () => objects.get(key),
          () => objects.getRange(key, { offset: 0, length: 1 }),
          () => objects.head(key),
          () => objects.deleteMany(["fine", key]),
          () => objects.createUpload(key),
          () => objects.uploadPart({ key, uploadId: "0".repeat(32), number: 1, body: Buffer.from("x") }),
          () => objects.copyPart({ key, uploadId: "0".repeat(32), number: 1, source: SOURCE }),
          () => objects.copyPart({ key: "k", uploadId: "0".repeat(32), number: 1, source: { ...SOURCE, key } }),
          () => objects.completeUpload({ key, uploadId: "0".repeat(32), parts: [{ number: 1, etag: "e" }] }),
          () => objects.abortUpload({ key, uploadId: "0".repeat(32) }),
        ];
        for (const call of calls) await expect(call(), JSON.stringify(key)).rejects.toMatchObject({ kind: "call", code: "bad-key" });
      }
      expect(await objects.list({ prefix: "../" })).toEqual({ objects: [] });
      expect(await objects.list({ prefix: "/etc/" })).toEqual({ objects: [] });
    });
  });

  test("an upload id that leads out of the store names no upload", async () => {
    await withStore(async ({ objects }) => {
      const uploadId = "../../objects";
      expect(await objects.uploadPart({ key: "k", uploadId, number: 1, body: Buffer.from("x") })).toEqual({ kind: "noSuchUpload" });
      expect(await objects.copyPart({ key: "k", uploadId, number: 1, source: SOURCE })).toEqual({ kind: "noSuchUpload" });
      expect(await objects.completeUpload({ key: "k", uploadId, parts: [{ number: 1, etag: "e" }] })).toEqual({ kind: "noSuchUpload" });
      await objects.abortUpload({ key: "k", uploadId });
      expect(await readdir(directory)).toContain("objects");
    });
  });

  test("files that people put there are listed, whatever their names", async () => {
    await withStore(async ({ objects }) => {
      await objects.createIfAbsent("t/0/redo/1", Buffer.from("x"));
      for (const name of [".DS_Store", "Copy of 1", "Ünïcode \u{1f30a}", "1.redo~"]) await writeFile(join(directory, "objects", "t", "0", "redo", name), "abc");
      await mkdir(join(directory, "objects", "t", "0", "empty"));
      await symlink(join(directory, "objects"), join(directory, "objects", "t", "loop"));
      const { objects: listed } = await objects.list({ prefix: "" });
      expect(listed).toEqual([
        { key: "t/0/redo/.DS_Store", size: 3 },
        { key: "t/0/redo/1", size: 1 },
        { key: "t/0/redo/1.redo~", size: 3 },
        { key: "t/0/redo/Copy of 1", size: 3 },
        { key: "t/0/redo/Ünïcode \u{1f30a}", size: 3 },
      ]);
    });
  });

  test("a directory that falls empty is taken away", async () => {
    await withStore(async ({ objects }) => {
      await objects.createIfAbsent("t/0/a/redo/1", Buffer.from("x"));
      await objects.createIfAbsent("t/1", Buffer.from("x"));
      await objects.deleteMany(["t/0/a/redo/1"]);
      expect(await readdir(join(directory, "objects", "t"))).toEqual(["1"]);
      await objects.deleteMany(["t/1"]);
      expect(await readdir(join(directory, "objects"))).toEqual([]);
      await stat(join(directory, "objects"));
    });
  });

  test("a file in the place of a directory is a fault of the call", async () => {
    await withStore(async ({ objects }) => {
      await objects.createIfAbsent("a/b", Buffer.from("x"));
      await expect(objects.createIfAbsent("a/b/c", Buffer.from("x"))).rejects.toMatchObject({ kind: "call", code: "not-a-directory" });
    });
  });
});

describe("copied parts", () => {
  test("a directory, or what would lie below a file, is no source", async () => {
    await withStore(async ({ objects }) => {
      await objects.createIfAbsent("a/b", Buffer.from("x"));
      const { uploadId } = await objects.createUpload("k");
      for (const key of ["a", "a/b/c"]) {
        expect(await objects.copyPart({ key: "k", uploadId, number: 1, source: { ...SOURCE, key } })).toEqual({ kind: "sourceChanged" });
      }
      expect(await readdir(join(directory, "uploads", `k~${uploadId}`))).toEqual([]);
    });
  });

  test("a file that was put in an object's place by hand is another source", async () => {
    await withStore(async ({ objects }) => {
      await objects.createIfAbsent("a", Buffer.from("first"));
      const found = await objects.head("a");
      const { uploadId } = await objects.createUpload("k");
      await writeFile(join(directory, "objects", "b"), "other");
      await rename(join(directory, "objects", "b"), join(directory, "objects", "a"));
      const source = { key: "a", etag: found.kind === "found" ? found.etag : "", offset: 0, length: 5 };
      expect(await objects.copyPart({ key: "k", uploadId, number: 1, source })).toEqual({ kind: "sourceChanged" });
    });
  });
});

describe("damage and leftovers", () => {
  test("a part whose bytes rotted is invalid", async () => {
    await withStore(async ({ objects }) => {
      const { uploadId } = await objects.createUpload("k");
      const stored = await objects.uploadPart({ key: "k", uploadId, number: 1, body: Buffer.from("body of the part") });
      const path = join(directory, "uploads", `k~${uploadId}`, "00001.part");
      const file = await readFile(path);
      file[40] ^= 1;
      await writeFile(path, file);
      const parts = [{ number: 1, etag: stored.kind === "stored" ? stored.etag : "" }];
      expect(await objects.completeUpload({ key: "k", uploadId, parts })).toEqual({ kind: "invalidPart" });
      expect(await objects.head("k")).toEqual({ kind: "absent" });
    });
  });

  test("a temporary file is an orphan once its process has ended, even if the id is used again", () => {
    const mine = temporaryName();
    const [machine, space, , start, rest] = mine.split(".");
    expect(isOrphan(mine)).toBe(false);
    expect(isOrphan([machine, space, 2 ** 22 + 1, start, rest, "tmp"].join("."))).toBe(true);
    expect(isOrphan([machine, space, process.pid, Number(start) + 1, rest, "tmp"].join("."))).toBe(start !== "0");
    expect(isOrphan(["00000000", space, 2 ** 22 + 1, start, rest, "tmp"].join("."))).toBe(false);
    expect(isOrphan([machine, "00000000", 2 ** 22 + 1, start, rest, "tmp"].join("."))).toBe(false);
    expect(isOrphan("notes.tmp")).toBe(false);
  });

  test("opening sweeps files of another machine only when they are older than a day, and files of others never", async () => {
    await initLocalStore(directory);
    const foreign = (digit: string): string => `00000000.00000000.1.1.${digit.repeat(16)}.tmp`;
    for (const name of [foreign("a"), foreign("b"), "notes.txt"]) await writeFile(join(directory, "tmp", name), "");
    const twoDaysAgo = new Date(Date.now() - 2 * 24 * 60 * 60_000);
    for (const name of [foreign("b"), "notes.txt"]) await utimes(join(directory, "tmp", name), twoDaysAgo, twoDaysAgo);
    await (await openLocalStore(directory)).close();
    expect((await readdir(join(directory, "tmp"))).sort()).toEqual([foreign("a"), "notes.txt"]);
  });
});

describe("faults", () => {
  const fault = (code: string): unknown => fileFault(Object.assign(new Error(`${code}: …`), { code }), "/store");

  test("errors of the system say what the caller can do, and name the directory", () => {
    for (const [codes, kind, code] of [
      [["ENOSPC", "EDQUOT", "EFBIG"], "wait", "no-space"],
      [["EACCES", "EPERM", "EROFS"], "call", "no-access"],
      [["EXDEV", "EMLINK", "ENOTSUP"], "call", "no-links"],
      [["ENAMETOOLONG"], "call", "name-too-long"],
      [["EMFILE", "ENFILE"], "wait", "too-many-files"],
      [["EIO"], "repair", "disk-fault"],
      [["EINTR", "ESTALE"], "retry", "file-fault"],
    ] as const) {
      for (const system of codes) expect(fault(system)).toMatchObject({ kind, code, message: expect.stringContaining("/store"), cause: { code: system } });
    }
  });

  test("what is no error of the system passes as it is", () => {
    const error = new TypeError("a mistake");
    expect(fileFault(error, "/store")).toBe(error);
  });

  test("a directory without rights is a fault of the call", async () => {
    await withStore(async ({ objects }) => {
      await chmod(join(directory, "tmp"), 0o500);
      const outcome = await objects.createIfAbsent("k", Buffer.from("x")).catch((error) => error.code);
      await chmod(join(directory, "tmp"), 0o700);
      // The superuser may write everywhere.
      expect(outcome).toEqual(process.getuid?.() === 0 ? { kind: "created" } : "no-access");
    });
  });
});
