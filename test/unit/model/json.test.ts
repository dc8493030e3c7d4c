// Where a JSON value ends, and which byte is the one that is wrong. What is JSON at all: test/unit/machines/keyed/patch.test.ts.

import { expect, test } from "vitest";
import { checkJson, JSON_DEPTH_MAX, textEnd, valueEnd } from "../../../lib/model/json.ts";

const VALUES = [
  "0",
  "-1.25e+3",
  "1e5",
  "2E-10",
  '"\\"\\\\\\/\\b\\f\\n\\r\\t"',
  '"\\u09aA\\uafAF"',
  '"a\\u00e9\\n\\""',
  "true",
  "false",
  "null",
  "[]",
  "{}",
  '[1,{"a":[null]},"x"]',
  '{"a":{"b":[]},"c":-0}',
];

test.each(VALUES)("the value %s ends where it ends, whatever follows, and its text where its white space begins", (json) => {
  for (const behind of [",", "]", "}", " ", "\n"]) expect(valueEnd(Buffer.from(`[${json}${behind}`), 1, json.length + 2)).toBe(1 + json.length);
  expect(textEnd(Buffer.from(` \t${json}\r\n`))).toBe(2 + json.length);
});

test.each(VALUES)("of %s nothing at or behind the limit is read", (json) => {
  const bytes = Buffer.from(json);
  expect(valueEnd(Buffer.from(`${json}${json}`), 0, bytes.length)).toBe(bytes.length);
  const closed = !/[0-9]$/.test(json);
  for (let limit = 0; closed && limit < bytes.length; limit++) expect(valueEnd(bytes, 0, limit), String(limit)).toBe(-1 - limit);
});

test("whatever lies at or behind the limit, a value is read as if its bytes ended there", () => {
  for (const json of [...VALUES, "[1  , 2 ]", '{ "a"  : 1 }', "1.5e+7", "-12", "1 e5"]) {
    const bytes = Buffer.from(json);
    for (let limit = 0; limit <= bytes.length; limit++) {
      const alone = Buffer.from(bytes.subarray(0, limit));
      expect(valueEnd(bytes, 0, limit), `${json} up to ${limit}`).toBe(valueEnd(alone, 0, alone.length));
    }
  }
});

test.each(["/", ":", "@", "`", "g", "G", "-", " "])("%j is no hexadecimal digit", (letter) => {
  expect(textEnd(Buffer.from(`"\\u00${letter}0"`))).toBe(-6);
});

test.each([
  ["", 0],
  ["  ", 2],
  ["x", 0],
  [" }", 1],
  ["1 2", 2],
  ["01", 1],
  ["-", 1],
  ["-a", 1],
  ["1.", 2],
  ["1.e", 2],
  ["1e", 2],
  ["1e+", 3],
  ["1E-x", 3],
  ["truE", 3],
  ["tru", 3],
  ["fals3", 4],
  ["nul", 3],
  ['"ab', 3],
  ['"a\nb"', 2],
  ['"\\x"', 2],
  ['"\\', 2],
  ['"\\u12g4"', 5],
  ['"\\u12', 5],
  ["[1", 2],
  ["[1 2]", 3],
  ["[1,]", 3],
  ["[,1]", 1],
  ["[1}", 2],
  ['{"a":1]', 6],
  ["{1:2}", 1],
  ['{"\\1}', 3],
  ['{"a"}', 4],
  ['{"a" 1}', 5],
  ['{"a":}', 5],
  ['{"a":1,}', 7],
  ['{"a":1,"b', 9],
  ['{"a":1,2', 7],
  ["[[1]", 4],
  ["[] ]", 3],
])("of %j the byte at %d is the one that is wrong", (json, offset) => {
  expect(textEnd(Buffer.from(json))).toBe(-1 - offset);
  expect(() => checkJson(Buffer.from(json), "it")).toThrow(offset < json.length ? ` at ${offset}` : "it ends too early");
});

test("only what is nested too deep is called that: brackets in strings do not count, nor those that are closed", () => {
  const codeOf = (json: string) => {
    try {
      checkJson(Buffer.from(json), "it");
      return "json";
    } catch (error) {
      return (error as { readonly code?: string }).code;
    }
  };
  const deep = JSON_DEPTH_MAX + 1;
  expect(() => checkJson(Buffer.from("[".repeat(deep)), "it")).toThrow(`deeper than ${JSON_DEPTH_MAX} levels at byte ${JSON_DEPTH_MAX}`);
  expect([
    codeOf("[".repeat(deep)),
    codeOf('{"a":'.repeat(deep)),
    codeOf("[".repeat(JSON_DEPTH_MAX)),
    codeOf(`"${"[".repeat(deep)}"x`),
    codeOf(`["\\"${"[".repeat(deep)}"`),
    codeOf(`[${"[],".repeat(deep)}`),
    codeOf(`[${"{},".repeat(deep)}`),
    codeOf(`${"[".repeat(JSON_DEPTH_MAX)}1${"]".repeat(JSON_DEPTH_MAX)}`),
  ]).toEqual(["json-too-deep", "json-too-deep", "bad-json", "bad-json", "bad-json", "bad-json", "bad-json", "json"]);
});
