import fc from "fast-check";
import { expect, test } from "vitest";
import { isTidemarkError } from "../../../lib/model/errors.ts";
import { type BodyBatch, parseBatchBody } from "../../../lib/ndjson/batch-body.ts";

const space = fc.stringMatching(/^[ \t\r\n]{0,2}$/);
const text = fc.string({ unit: "grapheme", minLength: 1, maxLength: 20 }).filter((made) => made.isWellFormed());
const valueText = fc.tuple(fc.jsonValue(), fc.constantFrom("", "\n", "\t")).map(([value, blank]) => JSON.stringify(value, null, blank));
const sequence = fc.bigInt({ min: 0n, max: 2n ** 192n - 1n });

interface Wanted {
  readonly key: string;
  readonly op: string;
  readonly value: string;
}

const mutation: fc.Arbitrary<Wanted> = fc.record({ key: text, op: fc.constantFrom("put", "patch", "delete"), value: valueText });

function textOf({ key, op, value }: Wanted, gap: string): string {
  const given = op === "delete" ? "" : `,${gap}"value":${gap}${value}`;
  return `${gap}{"op":"${op}",${gap}"key":${JSON.stringify(key)}${given}${gap}}${gap}`;
}

function mutationsText(mutations: readonly Wanted[], gap: string): string {
  return `"mutations"${gap}:${gap}[${mutations.map((one) => textOf(one, gap)).join(",")}]`;
}

function read(batches: readonly BodyBatch[]): readonly object[] {
  return batches.map(({ mutations, mark }) => ({
    mutations: mutations.map((one) => ({
      op: one.kind,
      key: Buffer.from(one.key).toString(),
      ...(one.kind !== "delete" && { value: Buffer.from(one.value).toString() }),
    })),
    ...(mark && { producer: mark.producer, sequence: mark.sequence }),
  }));
}

function wanted(mutations: readonly Wanted[]): readonly object[] {
  return mutations.map(({ key, op, value }) => ({ op, key, ...(op !== "delete" && { value }) }));
}

function parse(body: string, many = true): readonly object[] {
  return read(parseBatchBody(Buffer.from(body), { codec: "json", many }));
}

test("one batch gives its mutations, each value's own bytes, and its mark", () => {
  fc.assert(
    fc.property(
      fc.array(mutation, { minLength: 1, maxLength: 5 }),
      fc.option(fc.tuple(text, sequence)),
      space,
      fc.boolean(),
      (mutations, mark, gap, turned) => {
        const members = [mutationsText(mutations, gap), ...(mark ? [`"producer":${gap}${JSON.stringify(mark[0])}`, `"sequence"${gap}:"${mark[1]}"`] : [])];
        const body = `${gap}{${gap}${(turned ? members.reverse() : members).join(`${gap},${gap}`)}${gap}}${gap}`;
        const batch = { mutations: wanted(mutations), ...(mark && { producer: mark[0], sequence: mark[1] }) };
        expect([parse(body), parse(body, false)]).toEqual([[batch], [batch]]);
      },
    ),
    { numRuns: 300 },
  );
});

test("several batches of one producer keep their order and their sequences", () => {
  const batches = fc.array(fc.array(mutation, { minLength: 1, maxLength: 3 }), { minLength: 1, maxLength: 4 });
  fc.assert(
    fc.property(batches, fc.option(fc.nat()), space, (made, first, gap) => {
      const texts = made.map((mutations, place) => `{${first === null ? "" : `"sequence":${first + place},`}${mutationsText(mutations, gap)}}`);
      const body = `{${first === null ? "" : `"producer":"p",`}"batches":[${gap}${texts.join(`,${gap}`)}]}`;
      expect(parse(body)).toEqual(
        made.map((mutations, place) => ({ mutations: wanted(mutations), ...(first !== null && { producer: "p", sequence: BigInt(first + place) }) })),
      );
    }),
  );
});

test("whatever is sent is read or refused as the caller's to correct, and what is no JSON is refused", () => {
  const bodies = [`{"producer":"p","sequence":1,"mutations":[{"key":"a","value":[1,{"b":null}]}]}`, `{"batches":[{"mutations":[{"op":"delete","key":"a"}]}]}`];
  const spoilt = fc.tuple(fc.constantFrom(...bodies), fc.nat(), fc.constantFrom("", "{", "}", "[", "]", `"`, ",", ":", "\\", "0", "null", "\u0001", "é"));
  fc.assert(
    fc.property(
      fc.oneof(
        spoilt.map(([body, at, by]) => body.slice(0, at % body.length) + by + body.slice((at % body.length) + 1)),
        fc.json(),
        fc.string(),
      ),
      (body) => {
        try {
          parse(body);
        } catch (error) {
          if (!isTidemarkError(error) || error.kind !== "call") throw error;
          return;
        }
        expect(() => JSON.parse(body)).not.toThrow();
      },
    ),
    { numRuns: 1_000 },
  );
});

test("a table of bytes takes base64", () => {
  const body = Buffer.from(`{"mutations":[{"key":"a","value":"AAH/"}]}`);
  expect(parseBatchBody(body, { codec: "bytes", many: true })).toMatchObject([{ mutations: [{ kind: "put", value: Buffer.from([0, 1, 255]) }] }]);
});

test.each([
  ["bad-body", "[]", /the body is no JSON object/],
  ["bad-body", "{}", /the body has no mutations/],
  ["bad-body", `{"mutations":{}}`, /no JSON array/],
  ["bad-body", `{"mutations":[],"mutations":[]}`, /gives its mutations twice/],
  ["bad-body", `{"mutations":[],"other":1}`, /means nothing here/],
  ["bad-body", `{"mutations":[{"key":"a","value":1}],"batches":[]}`, /beside them/],
  ["bad-body", `{"sequence":1,"batches":[]}`, /beside them/],
  ["bad-body", `{"batches":[[]]}`, /batch 1 is no JSON object/],
  ["bad-body", `{"batches":[{"producer":"p","mutations":[]}]}`, /batch 1 has a member that means nothing/],
  ["bad-body", `{"producer":7,"sequence":1,"mutations":[{"key":"a","value":1}]}`, /the producer is no JSON string/],
  ["empty-body", `{"batches":[]}`, /no batches/],
  ["empty-batch", `{"batches":[{"mutations":[{"key":"a","value":1}]},{"mutations":[]}]}`, /batch 2 has no mutations/],
  ["bad-line", `{"batches":[{"mutations":[{"key":"a","value":1}]},{"mutations":[{"key":"b"}]}]}`, /^mutation 2 is a put without a value/],
  ["bad-line", `{"mutations":[5]}`, /^mutation 1 is no JSON object/],
  ["bad-producer", `{"sequence":1,"mutations":[{"key":"a","value":1}]}`, /a sequence and no producer/],
  ["bad-producer", `{"producer":"","sequence":1,"mutations":[{"key":"a","value":1}]}`, /1 to 128 bytes/],
  ["bad-sequence", `{"producer":"p","batches":[{"mutations":[{"key":"a","value":1}]}]}`, /batch 1 has a producer and no sequence/],
  ["bad-sequence", `{"producer":"p","sequence":9007199254740992,"mutations":[{"key":"a","value":1}]}`, /write a greater one as a string/],
  ["bad-sequence", `{"producer":"p","sequence":1.5,"mutations":[{"key":"a","value":1}]}`, /whole number/],
  ["bad-sequence", `{"producer":"p","sequence":"-1","mutations":[{"key":"a","value":1}]}`, /decimal digits/],
  ["bad-sequence", `{"producer":"p","sequence":"${"9".repeat(500)}","mutations":[{"key":"a","value":1}]}`, /decimal digits/],
  ["bad-sequence", `{"producer":"p","sequence":"${2n ** 192n}","mutations":[{"key":"a","value":1}]}`, /not a sequence/],
  ["ill-formed-text", `{"producer":"\\ud800","sequence":1,"mutations":[{"key":"a","value":1}]}`, /half of a surrogate/],
])("%s: %s", (code, body, words) => {
  expect(() => parse(body)).toThrow(expect.objectContaining({ kind: "call", code, message: expect.stringMatching(words) }));
});

test("sequences that do not grow are refused, for the batch would be taken for a repetition", () => {
  const body = (...sequences: readonly number[]) =>
    `{"producer":"p","batches":[${sequences.map((one) => `{"sequence":${one},"mutations":[{"key":"a","value":1}]}`).join(",")}]}`;
  expect(parse(body(1, 2, 9))).toHaveLength(3);
  for (const wrong of [body(1, 1), body(2, 3, 1)]) expect(() => parse(wrong)).toThrow(expect.objectContaining({ code: "bad-sequence" }));
});
