import { gzipSync } from "node:zlib";
import fc from "fast-check";
import { describe, expect, test } from "vitest";
import { isTidemarkError } from "../../../../../lib/model/errors.ts";
import { TIME_MAX, TIME_MIN } from "../../../../../lib/sources/influxdb/tsm/layout.ts";
import { deletedByKey, parseTombstones } from "../../../../../lib/sources/influxdb/tsm/tombstone.ts";
import { type DeletionText, deletionsOf, records, tombstoneFile } from "./files.ts";

const header = (version: number) => Buffer.of(0, 0, 0x15, version);
const one = { key: "cpu,host=a#!~#v", min: 1n, max: 2n };
const other = { key: "cpu,host=b#!~#v", min: TIME_MIN, max: -5n };

function found(bytes: Buffer, unpackedMax?: number): readonly DeletionText[] {
  return deletionsOf(parseTombstones("a.tombstone", bytes, unpackedMax));
}

function fault(bytes: Buffer, unpackedMax?: number): string {
  try {
    found(bytes, unpackedMax);
  } catch (error) {
    if (isTidemarkError(error)) return `${error.kind}: ${error.message}`;
    throw error;
  }
  return "none";
}

describe("a tombstone file of", () => {
  test("version 1 has lines, each a key that is gone as a whole", () => {
    const whole = { min: TIME_MIN, max: TIME_MAX };
    expect(found(Buffer.from("b#!~#v\r\n\na,t=ü#!~#v\n"))).toEqual([
      { key: "a,t=ü#!~#v", ...whole },
      { key: "b#!~#v", ...whole },
    ]);
    expect(found(Buffer.from("b#!~#v"))).toEqual([{ key: "b#!~#v", ...whole }]);
    expect(found(Buffer.alloc(0))).toEqual([]);
  });

  test("version 2 has records", () => {
    expect(found(Buffer.concat([header(2), records([other, one])]))).toEqual([one, other]);
    expect(found(header(2))).toEqual([]);
  });

  test("version 3 has packed records", () => {
    expect(found(Buffer.concat([header(3), gzipSync(records([other, one]))]))).toEqual([one, other]);
  });

  test("version 4 has packed records in several parts", () => {
    expect(found(tombstoneFile([[other], [], [one, other]]))).toEqual([one, other, other]);
    expect(found(header(4))).toEqual([]);
  });
});

describe("a tombstone file is refused that", () => {
  const four = tombstoneFile([[one], [other]]);

  test("is of no version, or of a newer one", () => {
    expect(fault(Buffer.of(0, 0, 0x14, 4, 1))).toBe("repair: a.tombstone is damaged: it begins as no tombstone file");
    expect(fault(Buffer.of(0, 0, 0x15, 1, 1))).toBe("repair: a.tombstone is damaged: it begins as no tombstone file");
    expect(fault(header(5))).toMatch("call: a.tombstone has format version 5");
    expect(fault(Buffer.from("a#!~#v\nno key\n"))).toBe("repair: a.tombstone is damaged: the line at 7 is no key");
  });

  test("is cut anywhere, but between two parts", () => {
    const first = tombstoneFile([[one]]).length;
    for (let end = 1; end < four.length; end++) {
      if (end === 4 || end === first) continue;
      expect([end, fault(four.subarray(0, end))]).toEqual([end, expect.stringMatching("^repair: a.tombstone is damaged")]);
    }
    expect(fault(header(3))).toBe("repair: a.tombstone is damaged: it is cut behind its header");
    const two = Buffer.concat([header(2), records([one])]);
    for (let end = 5; end < two.length; end++) expect(fault(two.subarray(0, end))).toMatch("repair: a.tombstone is damaged: its records: a record is cut");
  });

  test("has a changed bit in any part, which the CRC-32 covers", () => {
    const right = found(four);
    for (let bit = 0; bit < four.length * 8; bit++) {
      const changed = Buffer.from(four);
      changed[bit >>> 3] ^= 1 << (bit & 7);
      // Free for any value: two time stamps, the flags of compression and the system of each gzip header. And version 3 reads as 4 does.
      if (fault(changed) === "none") expect([bit, found(changed)]).toEqual([bit, right]);
    }
  });

  test("has records that do not end with their part, or keys of no length or more than an index can have", () => {
    const whole = records([one, other]);
    const split = Buffer.concat([header(4), gzipSync(whole.subarray(0, 30)), gzipSync(whole.subarray(30))]);
    expect(fault(split)).toBe("repair: a.tombstone is damaged: the part at 4: a record is cut");
    expect(fault(Buffer.concat([header(2), Buffer.alloc(20)]))).toMatch("has a key of 0 bytes");
    expect(fault(Buffer.concat([header(2), Buffer.of(0, 1, 0, 0), Buffer.alloc(70_000)]))).toMatch("has a key of 65536 bytes");
  });

  test("unpacks to more bytes than are allowed, in one part or in many", () => {
    const bomb = Buffer.concat([header(4), gzipSync(Buffer.alloc(50_000_000))]);
    expect(bomb.length).toBeLessThan(100_000);
    expect(fault(bomb, 1_000_000)).toMatch("call: a.tombstone cannot be rewritten: it has more than 1000000 bytes unpacked");
    const length = records([one]).length;
    expect(fault(tombstoneFile([[one], [one]]), 2 * length)).toBe("none");
    expect(fault(tombstoneFile([[one], [one]]), 2 * length - 1)).toMatch("more than");
    expect(fault(Buffer.from("a#!~#v\nb#!~#v\n"), 50)).toMatch("more than 50 bytes");
  });

  test("is any bytes: deletions or a fault, never another error", () => {
    fc.assert(
      fc.property(fc.constantFrom(1, 2, 3, 4), fc.uint8Array({ maxLength: 80 }), fc.boolean(), (version, noise, isPacked) => {
        const body = isPacked ? gzipSync(noise) : Buffer.from(noise);
        fault(version === 1 ? body : Buffer.concat([header(version), body]));
      }),
    );
  });
});

test("asked for ascending keys, the deletions give those of each key and of no other", () => {
  const key = fc.constantFrom("a#!~#v", "ab#!~#v", "b#!~#v", "b,t=ü#!~#v", "c#!~#v");
  const deletion = fc.record({ key, min: fc.bigInt(-9n, 9n), max: fc.bigInt(-9n, 9n) });
  fc.assert(
    fc.property(fc.array(fc.array(deletion, { maxLength: 4 }), { maxLength: 4 }), fc.uniqueArray(key), (members, asked) => {
      const ascending = asked.map((text) => Buffer.from(text)).sort(Buffer.compare);
      const deletedOf = deletedByKey(parseTombstones("a.tombstone", tombstoneFile(members)));
      const all = members.flat();
      for (const bytes of ascending) {
        const expected = all.filter((each) => each.key === bytes.toString()).map(({ min, max }) => ({ min, max }));
        const inOrder = (ranges: readonly { readonly min: bigint; readonly max: bigint }[]) => ranges.map(({ min, max }) => `${min} ${max}`).toSorted();
        expect(inOrder(deletedOf(bytes))).toEqual(inOrder(expected));
      }
    }),
  );
});
