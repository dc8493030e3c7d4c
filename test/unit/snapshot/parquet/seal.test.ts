import { expect, test } from "vitest";
import { FOOT_BYTES_MAX, MAGIC, TRAILER_BYTES } from "../../../../lib/snapshot/parquet/layout.ts";
import { findSeal, SEAL_BYTES, sealFooter, sealHolds } from "../../../../lib/snapshot/parquet/seal.ts";

const footer = Buffer.from("the footer");
const foot = sealFooter(footer, 104);
/** Of a row group and page indexes that end at 120. */
const SIZE = 120 + foot.length;

const withLength = (bytes: number): Buffer => {
  const wrong = Buffer.from(foot);
  wrong.writeUInt32LE(bytes, wrong.length - TRAILER_BYTES);
  return wrong;
};

test("a foot is found in as few bytes as it has, or more, and holds", () => {
  const found = { kind: "found", version: 1, indexesStart: 104, footBytes: SEAL_BYTES + footer.length + TRAILER_BYTES };
  expect(findSeal(foot, SIZE)).toEqual(found);
  expect(findSeal(Buffer.concat([Buffer.from("page indexes"), foot]), SIZE)).toEqual(found);
  expect(sealHolds(foot)).toBe(true);
});

test("the bytes that it takes are told where there are fewer of them", () => {
  expect(findSeal(foot.subarray(-7), SIZE)).toEqual({ kind: "needs", lastBytes: TRAILER_BYTES });
  expect(findSeal(foot.subarray(-8), SIZE)).toEqual({ kind: "needs", lastBytes: foot.length });
  expect(findSeal(foot.subarray(1), SIZE)).toEqual({ kind: "needs", lastBytes: foot.length });
});

test("page indexes begin behind the head at the earliest, and where the foot does at the latest", () => {
  const kindOf = (indexesStart: number) => findSeal(sealFooter(footer, indexesStart), SIZE).kind;
  expect([MAGIC.length - 1, MAGIC.length, 120, 121].map(kindOf)).toEqual(["damaged", "found", "found", "damaged"]);
});

test("the smallest object has a head and a foot without a footer", () => {
  const empty = sealFooter(Buffer.alloc(0), MAGIC.length);
  expect(findSeal(empty, MAGIC.length + empty.length)).toMatchObject({ kind: "found", footBytes: empty.length });
  expect(findSeal(empty, MAGIC.length + empty.length - 1)).toEqual({ kind: "damaged", what: expect.stringContaining("fewer than any snapshot") });
});

test("a foot fits between the head and the object's end, and has no more bytes than a reader takes", () => {
  expect(findSeal(foot, MAGIC.length + foot.length)).toMatchObject({ kind: "damaged", what: expect.stringContaining("page indexes") });
  expect(findSeal(foot, MAGIC.length + foot.length - 1)).toEqual({ kind: "damaged", what: "its footer cannot have 10 bytes" });
  const most = FOOT_BYTES_MAX - SEAL_BYTES - TRAILER_BYTES;
  expect(findSeal(withLength(most), 2 * FOOT_BYTES_MAX)).toEqual({ kind: "needs", lastBytes: FOOT_BYTES_MAX });
  expect(findSeal(withLength(most + 1), 2 * FOOT_BYTES_MAX)).toEqual({ kind: "damaged", what: `its footer cannot have ${most + 1} bytes` });
});

test.each([
  ["that does not end as it must", foot.length - 1, "it does not end with PAR1"],
  ["that does not begin with a seal", 0, "it has no seal before its footer"],
])("a foot %s is damaged", (_, at, what) => {
  const wrong = Buffer.from(foot);
  wrong[at] ^= 1;
  expect(findSeal(wrong, SIZE)).toEqual({ kind: "damaged", what });
});

test("a foot of which any byte is another does not hold", () => {
  for (let at = 0; at < foot.length; at++) {
    const wrong = Buffer.from(foot);
    wrong[at] ^= 0x40;
    expect(sealHolds(wrong), `byte ${at}`).toBe(false);
  }
});
