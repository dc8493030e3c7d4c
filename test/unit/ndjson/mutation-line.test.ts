import fc from "fast-check";
import { expect, test } from "vitest";
import { type InputBatch, readBatches } from "../../../lib/ndjson/batches.ts";
import { parseMutation } from "../../../lib/ndjson/mutation-line.ts";
import { recordLines } from "../../../lib/ndjson/record-lines.ts";
import { isTidemarkError } from "../../../lib/model/errors.ts";
import { rowsOf } from "../machines/keyed/log.ts";

const space = fc.stringMatching(/^[ \t\r]{0,3}$/);
const key = fc.string({ unit: "grapheme", minLength: 1, maxLength: 40 }).filter((text) => text.isWellFormed());
/** A JSON string's text, with every character escaped or none but those that must be. */
const quoted = (text: string): fc.Arbitrary<string> =>
  fc.constantFrom(
    JSON.stringify(text),
    `"${Array.from({ length: text.length }, (_, i) => `\\u${text.charCodeAt(i).toString(16).padStart(4, "0")}`).join("")}"`,
  );
/** JSON with white space between its tokens; what stands in its strings stays. */
const valueText = fc
  .tuple(fc.jsonValue(), fc.constantFrom("", " ", "\t", "\r"))
  .map(([value, blank]) => JSON.stringify(value, null, blank && "\t").replaceAll("\n", blank));

const mutationLine = fc
  .record({ op: fc.constantFrom(undefined, "put", "patch", "delete"), key, value: valueText, short: fc.boolean(), order: fc.boolean() })
  .chain(({ op, key: name, value, short, order }) =>
    fc.tuple(quoted(name), space, space).map(([keyText, before, after]) => {
      const members = [
        ...(op === undefined ? [] : [`"op":"${op}"`]),
        `"${short ? "k" : "key"}"${before}:${after}${keyText}`,
        ...(op === "delete" ? [] : [`"${short ? "v" : "value"}":${before}${value}${after}`]),
      ];
      const text = `${before}{${after}${(order ? members : members.reverse()).join(`${after},${before}`)}}${after}`;
      return { text, op: op ?? "put", name, value };
    }),
  );

test("a line gives its key's text, and its value's own bytes", () => {
  fc.assert(
    fc.property(mutationLine, ({ text, op, name, value }) => {
      const bytes = Buffer.from(`before\n${text}\nbehind`);
      const start = "before\n".length;
      const mutation = parseMutation(bytes, start, start + Buffer.byteLength(text), 1, "json");
      expect(mutation.kind).toBe(op);
      expect(Buffer.from(mutation.key).toString()).toBe(name);
      if (mutation.kind !== "delete") expect(Buffer.from(mutation.value).toString()).toBe(value.trimEnd());
    }),
    { numRuns: 500 },
  );
});

test("what is accepted is what JSON.parse would accept, and a refusal is the caller's to correct", () => {
  const spoilt = fc.tuple(mutationLine, fc.nat(), fc.constantFrom("", "{", "}", `"`, ",", ":", "\\", "0", "\u0001", "e", "é")).map(([{ text }, at, by]) => {
    const place = at % (text.length + 1);
    return text.slice(0, place) + by + text.slice(place + (by === "" ? 1 : 0));
  });
  fc.assert(
    fc.property(fc.oneof(spoilt, fc.string({ unit: "binary" }), fc.json()), (text) => {
      const bytes = Buffer.from(text);
      let mutation: ReturnType<typeof parseMutation>;
      try {
        mutation = parseMutation(bytes, 0, bytes.length, 7, "json");
      } catch (error) {
        expect(isTidemarkError(error) && error.kind).toBe("call");
        expect((error as Error).message).toMatch(/line 7\b/);
        return;
      }
      const parsed: Record<string, unknown> = JSON.parse(bytes.toString());
      expect(Buffer.from(mutation.key).toString()).toBe(parsed.key ?? parsed.k);
      if (mutation.kind !== "delete") expect(JSON.parse(Buffer.from(mutation.value).toString())).toEqual("value" in parsed ? parsed.value : parsed.v);
    }),
    { numRuns: 2_000 },
  );
});

test("batches do not depend on how the stream is cut into chunks", async () => {
  const input = fc.array(fc.oneof({ weight: 5, arbitrary: mutationLine.map(({ text }) => text) }, fc.constantFrom("", " ", "\r")), { maxLength: 30 });
  await fc.assert(
    fc.asyncProperty(
      input,
      fc.array(fc.integer({ min: 1, max: 50 }), { minLength: 1 }),
      fc.boolean(),
      fc.integer({ min: 1, max: 5 }),
      async (texts, sizes, ended, linesMax) => {
        const bytes = Buffer.from(texts.join("\n") + (ended ? "\n" : ""));
        const options = { codec: "json", linesMax } as const;
        expect(await batchesOf(chunked(bytes, sizes), options)).toEqual(await batchesOf(chunked(bytes, [bytes.length + 1]), options));
      },
    ),
  );
});

test("an empty line ends a batch, and so do --batch lines", async () => {
  const one = (n: number) => `{"k":"${n}","v":${n}}\n`;
  const input = Buffer.from(`\n\n${one(1)}${one(2)}\r\n\n${one(3)}${one(4)}${one(5)}${one(6)}`);
  const batches = await batchesOf(chunked(input, [9]), { codec: "json", linesMax: 3 });
  expect(batches.map(({ firstLine, lastLine, mutations }) => [firstLine, lastLine, mutations.length])).toEqual([
    [3, 4, 2],
    [7, 9, 3],
    [10, 10, 1],
  ]);
});

test("a record comes out as one line of JSON that holds its value byte for byte", () => {
  const row = fc.record({ key, value: valueText, index: fc.integer({ min: 1, max: Number.MAX_SAFE_INTEGER }), timeMs: fc.integer({ min: 0, max: 4e12 }) });
  fc.assert(
    fc.property(fc.array(row, { maxLength: 20 }), fc.constantFrom("json" as const, "bytes" as const), (rows, codec) => {
      const text = recordLines(codec).encode(rowsOf(rows)).toString();
      const lines = text.split("\n");
      expect(lines.pop()).toBe("");
      expect(lines.map((line) => JSON.parse(line))).toEqual(
        rows.map(({ key: name, value, index, timeMs }) => ({
          key: name,
          value: codec === "json" ? JSON.parse(value) : Buffer.from(value).toString("base64"),
          index,
          time: new Date(timeMs).toISOString(),
        })),
      );
      if (codec === "json") for (const [place, { value }] of rows.entries()) expect(lines[place]).toContain(`,"value":${value.replaceAll("\r", " ")},"index":`);
    }),
  );
});

test("line breaks between a value's tokens do not break its line", () => {
  const value = `{\r\n  "a": "x\\ny"\n}`;
  const line = recordLines("json")
    .encode(rowsOf([{ key: "k", value, index: 1, timeMs: 0 }]))
    .toString();
  expect(line).toBe(`{"key":"k","value":{    "a": "x\\ny" },"index":1,"time":"1970-01-01T00:00:00.000Z"}\n`);
});

async function* chunked(bytes: Buffer, sizes: readonly number[]): AsyncGenerator<Buffer> {
  let at = 0;
  for (let turn = 0; at < bytes.length; turn++) {
    const size = sizes[turn % sizes.length];
    yield bytes.subarray(at, at + size);
    at += size;
  }
}

async function batchesOf(chunks: AsyncIterable<Buffer>, options: Parameters<typeof readBatches>[1]): Promise<readonly InputBatch[]> {
  const batches: InputBatch[] = [];
  for await (const batch of readBatches(chunks, options)) batches.push(batch);
  return batches.map((batch) => ({
    ...batch,
    mutations: batch.mutations.map((mutation) => ({
      ...mutation,
      key: Buffer.from(mutation.key),
      ...(mutation.kind !== "delete" && { value: Buffer.from(mutation.value) }),
    })),
  }));
}
