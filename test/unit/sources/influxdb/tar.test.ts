import { spawnSync } from "node:child_process";
import { mkdirSync, mkdtempSync, rmSync, utimesSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { dirname, join } from "node:path";
import fc from "fast-check";
import { describe, expect, test } from "vitest";
import { tarBytes, tarEnd, tarEntries, tarHeader, tarPadding } from "../../../../lib/sources/influxdb/tar.ts";
import { type ArchivedFile, archiveOf, filesIn, outcomeOf, reusedChunks } from "./archives.ts";

const TAR = spawnSync("tar", ["--version"], { encoding: "utf8" });
const isGnuTar = TAR.status === 0 && TAR.stdout.includes("GNU tar");

function bytesOf(length: number, seed = 7): Buffer {
  return Buffer.from(Array.from({ length }, (_, at) => (at * 31 + seed) % 251));
}

const folder = fc.string({ unit: fc.constantFrom("a", "Z", "0", "_", ".", " ", "é", "日", "🌿"), minLength: 1, maxLength: 60 });
const name = fc
  .oneof(
    fc.array(folder, { minLength: 1, maxLength: 8 }).map((parts) => parts.join("/")),
    fc
      .tuple(fc.constantFrom("", "é", "a/b", "/"), fc.constantFrom("n", "é", "日", "🌿"), fc.integer({ min: 1, max: 300 }))
      .map(([start, one, times]) => start + one.repeat(times)),
  )
  .filter((text) => Buffer.byteLength(text) <= 300);
const size = fc.constantFrom(0, 1, 100, 511, 512, 513, 1023, 1024, 1025, 3000);
const file: fc.Arbitrary<ArchivedFile> = fc.record({ name, modifiedS: fc.nat({ max: 2 ** 32 }), body: size.map((length) => bytesOf(length)) });
const chunkLengths = fc.array(fc.integer({ min: 1, max: 2000 }), { minLength: 1, maxLength: 6 });

/** A header made by hand, as other programs write it; `put` changes its fields before the checksum. */
function header(put: (block: Buffer) => void, { type = "0", name: text = "f", size: bytes = 0 } = {}): Buffer {
  const block = Buffer.alloc(512);
  block.write(text, 0);
  block.write("0000644\0", 100);
  block.write(`${bytes.toString(8).padStart(11, "0")}\0`, 124);
  block.write("00000000017\0", 136);
  block.write(type, 156);
  block.write("ustar\x0000", 257);
  put(block);
  block.fill(" ", 148, 156);
  const sum = block.reduce((total, byte) => total + byte, 0);
  block.write(`${sum.toString(8).padStart(6, "0")}\0 `, 148);
  return block;
}

const padded = (text: string) => Buffer.concat([Buffer.from(text), tarPadding(Buffer.byteLength(text))]);
const read = (...parts: readonly Buffer[]) => filesIn(reusedChunks(Buffer.concat([...parts, tarEnd()])));

describe("what is written is read", () => {
  test("files of any name and size come back as they were, however the chunks are cut, though each is overwritten behind the reader", async () => {
    await fc.assert(
      fc.asyncProperty(fc.array(file, { maxLength: 4 }), chunkLengths, async (files, lengths) => {
        const archive = archiveOf(files);
        expect(archive.length % 512).toBe(0);
        expect(archive.length).toBe(files.reduce((sum, { name: of, body, modifiedS }) => sum + tarBytes({ name: of, size: body.length, modifiedS }), 1024));
        expect(await filesIn(reusedChunks(archive, lengths))).toEqual(files);
      }),
      { numRuns: 300 },
    );
  });

  test("a name that has a slash at the right place takes no block of its own, any other takes an extended header", () => {
    const entry = (text: string) => tarHeader({ name: text, size: 0, modifiedS: 0 }).length;
    expect([entry("a".repeat(100)), entry(`${"a".repeat(155)}/${"b".repeat(100)}`)]).toEqual([512, 512]);
    expect([entry("a".repeat(101)), entry(`${"a".repeat(156)}/b`), entry(`a/${"b".repeat(101)}`), entry("é".repeat(51))]).toEqual([1536, 1536, 1536, 1536]);
  });

  test("a size above what octal digits tell stands in an extended header", async () => {
    const size = 8 ** 11;
    const chunks = reusedChunks(tarHeader({ name: "huge", size, modifiedS: 5 }));
    const entries = tarEntries(chunks);
    expect((await entries.next()).value).toMatchObject({ name: "huge", size, modifiedS: 5 });
  });

  test("no header leaves its fields, whatever the name", () => {
    fc.assert(
      fc.property(name, (text) => {
        const whole = tarHeader({ name: text, size: 9, modifiedS: 8 });
        const block = whole.subarray(whole.length - 512);
        expect(block.toString("latin1", 100, 148)).toBe("0000644\x000000000\x000000000\x0000000000011\x0000000000010\0");
        expect(block.subarray(157, 257)).toEqual(Buffer.alloc(100));
        expect(block.subarray(500)).toEqual(Buffer.alloc(12));
      }),
      { numRuns: 300 },
    );
  });
});

describe("what others write is read", () => {
  const body = Buffer.concat([Buffer.from("abc"), tarPadding(3)]);
  const long = `${"d/".repeat(120)}f.tsm`;
  const pax = (text: string) => [header(() => undefined, { type: "x", size: Buffer.byteLength(text) }), padded(text)];
  const record = (text: string) =>
    `${[...Array(9).keys()].map((digits) => digits + 1 + text.length + 2).find((length) => String(length).length + text.length + 2 === length)} ${text}\n`;

  test.each<[string, readonly Buffer[], Partial<ArchivedFile>]>([
    ["a plain header", [header(() => undefined, { size: 3 }), body], { name: "f", modifiedS: 15 }],
    ["the type of an old header", [header((block) => block.fill(0, 156, 157), { size: 3 }), body], { name: "f" }],
    ["a name of all its bytes", [header(() => undefined, { name: "n".repeat(100), size: 3 }), body], { name: "n".repeat(100) }],
    ["a prefix", [header((block) => void block.write("db/rp", 345), { name: "1/f", size: 3 }), body], { name: "db/rp/1/f" }],
    ["a prefix of all its bytes", [header((block) => void block.write("p".repeat(155), 345), { size: 3 }), body], { name: `${"p".repeat(155)}/f` }],
    [
      "bytes in the prefix's place of a header that knows none",
      [
        header(
          (block) => {
            block.fill(0, 257, 265);
            block.write("x", 345);
          },
          { size: 3 },
        ),
        body,
      ],
      { name: "f" },
    ],
    ["a size to the base 256", [header((block) => Buffer.of(0x80, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 3).copy(block, 124)), body], { name: "f" }],
    [
      "a time to the base 256",
      [header((block) => Buffer.of(0x80, 0, 0, 0, 0, 0, 0, 1, 0, 0, 0, 0).copy(block, 136), { size: 3 }), body],
      { modifiedS: 2 ** 32 },
    ],
    ["numbers with spaces about them", [header((block) => void block.write("         3 \0", 124)), body], { name: "f" }],
    ["a path of pax", [...pax(record(`path=${long}`)), header(() => undefined, { size: 3 }), body], { name: long }],
    ["a path of pax that has an equals sign", [...pax(record("path=a=b=c")), header(() => undefined, { size: 3 }), body], { name: "a=b=c" }],
    ["a size of pax", [...pax(record("size=3")), header(() => undefined, { size: 0 }), body], { name: "f" }],
    [
      "other records of pax",
      [...pax(record("mtime=1.5") + record("SCHILY.dev=é".normalize("NFKD").replace(/\P{ASCII}/gu, ""))), header(() => undefined, { size: 3 }), body],
      { name: "f" },
    ],
    [
      "a long name of GNU",
      [header(() => undefined, { type: "L", name: "././@LongLink", size: long.length + 1 }), padded(`${long}\0`), header(() => undefined, { size: 3 }), body],
      { name: long },
    ],
  ])("%s", async (_, parts, expected) => {
    expect(await read(...parts)).toEqual([expect.objectContaining({ body: Buffer.from("abc"), ...expected })]);
  });

  test("an extended header is of the next file alone", async () => {
    const files = await read(
      ...pax(record("path=one")),
      header(() => undefined, { size: 3 }),
      body,
      header(() => undefined, { size: 3 }),
      body,
    );
    expect(files.map((one) => one.name)).toEqual(["one", "f"]);
  });

  test.each<[string, readonly Buffer[]]>([
    ["a folder", [header(() => undefined, { type: "5" })]],
    ["a link", [header(() => undefined, { type: "2" })]],
    ["a long link", [header(() => undefined, { type: "K", size: 3 }), body]],
    ["a size below 0", [header((block) => block.fill(0xff, 124, 136))]],
    ["a size above all safe numbers", [header((block) => Buffer.of(0x80, 0, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0).copy(block, 124))]],
    ["a size that is no number", [header((block) => void block.write("0000000009\0", 124))]],
    ["a size of pax that is no number", [...pax(record("size=-3")), header(() => undefined)]],
    ["a size of pax above all safe numbers", [...pax(record("size=9007199254740993")), header(() => undefined)]],
    ["a record of pax without a length", [...pax("path=x\n"), header(() => undefined)]],
    ["a record of pax that is longer than the header", [...pax("99 path=x\n"), header(() => undefined)]],
    ["a record of pax that ends elsewhere", [...pax("9 path=xy\n"), header(() => undefined)]],
    ["a record of pax of no bytes", [...pax("0 path=x\n"), header(() => undefined)]],
    ["an extended header without end", [header(() => undefined, { type: "x", size: 64 * 1024 + 1 }), Buffer.alloc(65 * 1024)]],
    ["a lone zero block", [Buffer.alloc(512), header(() => undefined)]],
  ])("%s is refused", async (_, parts) => {
    expect(await outcomeOf(read(...parts))).toBe("bad-archive");
  });
});

describe("what is not whole is not taken", () => {
  const files = [
    { name: `${"folder/".repeat(20)}é${"x".repeat(101)}.tsm`, modifiedS: 1_700_000_000, body: bytesOf(700) },
    { name: "db/rp/1/000000001-000000001.tsm", modifiedS: 3, body: bytesOf(512) },
    { name: "db/rp/1/000000002-000000001.tsm", modifiedS: 3, body: Buffer.alloc(0) },
  ];
  const archive = archiveOf(files);

  test("an archive that is cut at any byte is known for it", async () => {
    for (let length = 0; length < archive.length; length++) {
      expect([length, await outcomeOf(filesIn(reusedChunks(archive.subarray(0, length), [777])))]).toEqual([length, "cut-archive"]);
    }
  });

  test("any byte behind the end is refused", async () => {
    for (const more of [Buffer.of(0), Buffer.of(1), Buffer.alloc(512), archive]) {
      expect(await outcomeOf(filesIn(reusedChunks(Buffer.concat([archive, more]), [archive.length])))).toBe("bad-archive");
    }
  });

  test("a header with any byte flipped is refused, or tells the same", async () => {
    const headers = [0, 512 * 3, archive.length - 1024 - 512 - 1024, archive.length - 1024 - 512].filter(
      (at) => archive.toString("latin1", at + 257, at + 262) === "ustar",
    );
    expect(headers.length).toBe(3);
    for (const at of headers) {
      for (let offset = at; offset < at + 512; offset++) {
        const wrong = Buffer.from(archive);
        wrong[offset] ^= 0x01 << (offset % 8);
        const found = await filesIn(reusedChunks(wrong)).catch((error: { readonly code?: string }) => error.code);
        if (typeof found === "string") expect(["bad-archive", "cut-archive"]).toContain(found);
        else expect([offset, found]).toEqual([offset, files]);
      }
    }
  });

  test("who asks for the next file before a body is read to its end is told of the mistake", async () => {
    const walk = async () => {
      for await (const _ of tarEntries(reusedChunks(archive)));
    };
    await expect(walk()).rejects.toMatchObject({ kind: "bug", code: "unread-entry" });
  });
});

describe("the source is ended", () => {
  const archive = archiveOf([{ name: "a", modifiedS: 0, body: bytesOf(5_000) }]);

  function watched(bytes: Buffer): { readonly chunks: AsyncGenerator<Buffer>; readonly isEnded: () => boolean } {
    let ended = false;
    async function* chunks(): AsyncGenerator<Buffer> {
      try {
        yield* reusedChunks(bytes, [1_000]);
      } finally {
        ended = true;
      }
    }
    return { chunks: chunks(), isEnded: () => ended };
  }

  test("when the archive is refused", async () => {
    const { chunks, isEnded } = watched(Buffer.concat([Buffer.alloc(511), Buffer.of(1), archive]));
    expect([await outcomeOf(filesIn(chunks)), isEnded()]).toEqual(["bad-archive", true]);
  });

  test("when the reader stops at a file", async () => {
    const { chunks, isEnded } = watched(archive);
    for await (const _ of tarEntries(chunks)) break;
    expect(isEnded()).toBe(true);
  });

  test("when the reader stops within a body", async () => {
    const { chunks, isEnded } = watched(archive);
    const walk = async () => {
      for await (const { body } of tarEntries(chunks)) for await (const _ of body) throw new Error("enough");
    };
    await expect(walk()).rejects.toThrow("enough");
    expect(isEnded()).toBe(true);
  });
});

describe.skipIf(!isGnuTar)("the system's tar", () => {
  const scratch = () => mkdtempSync(join(tmpdir(), "tidemark-tar-"));
  const env = { ...process.env, LC_ALL: "C.UTF-8", TAR_OPTIONS: "" };
  const names = [
    "db/rp/1/000000001-000000001.tsm",
    "db/rp/1/000000001-000000001.tombstone",
    `${"folder-of-some-length/".repeat(6)}000000002-000000001.tsm`,
    `mé-日/${"x".repeat(90)}`,
  ];

  test.each(["v7", "ustar", "oldgnu", "gnu", "pax"])("writes archives of the format %s that are read", async (format) => {
    const folder = scratch();
    try {
      const wanted = names
        .filter((text) => format !== "v7" || text.length <= 99)
        .map((text, place) => ({ name: text, modifiedS: 1_700_000_000 + place, body: bytesOf(place * 511 + 1) }));
      for (const { name: text, body, modifiedS } of wanted) {
        mkdirSync(dirname(join(folder, text)), { recursive: true });
        writeFileSync(join(folder, text), body);
        utimesSync(join(folder, text), modifiedS, modifiedS);
      }
      const made = spawnSync("tar", ["-C", folder, "-b", "2", `--format=${format}`, "-cf", "-", ...wanted.map((one) => one.name)], { env, maxBuffer: 1e8 });
      expect(made.stderr.toString()).toBe("");
      // It fills its last record with more zero blocks, which no server does.
      const end = made.stdout.length - Math.max(0, trailingZeros(made.stdout) - trailingZeros(archiveOf(wanted)));
      const archive = made.stdout.subarray(0, Math.ceil(end / 512) * 512);
      expect(await filesIn(reusedChunks(archive, [333]))).toEqual(wanted);
    } finally {
      rmSync(folder, { recursive: true });
    }
  });

  test("lists and unpacks what is written here", () => {
    const files = names
      .concat(`${"d".repeat(170)}/é${"y".repeat(120)}`)
      .map((text, place) => ({ name: text, modifiedS: 1_600_000_000, body: bytesOf(place * 511 + 1) }));
    const listed = spawnSync("tar", ["--quoting-style=literal", "-tf", "-"], { env, input: archiveOf(files), encoding: "utf8" });
    expect([listed.stderr, listed.stdout.trimEnd().split("\n")]).toEqual(["", files.map((one) => one.name)]);
    for (const { name: text, body } of files) {
      expect(spawnSync("tar", ["-xOf", "-", text], { env, input: archiveOf(files) }).stdout.equals(body)).toBe(true);
    }
  });
});

function trailingZeros(bytes: Buffer): number {
  return bytes.length - 1 - bytes.findLastIndex((byte) => byte !== 0);
}
