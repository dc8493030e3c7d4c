import fc from "fast-check";
import { describe, expect, test } from "vitest";
import { checkJson, JSON_DEPTH_MAX } from "../../../../lib/model/json.ts";
import { mergePatch, patchValue, patchValueByEach, replacesValue } from "../../../../lib/machines/keyed/patch.ts";
import { VALUE_BYTES_MAX } from "../../../../lib/model/limits.ts";

const text = (json: string) => Buffer.from(json);
const patched = (target: string | undefined, patch: string) => mergePatch(target === undefined ? undefined : text(target), text(patch)).toString();

describe("checkJson", () => {
  const accepts = (bytes: Buffer) => {
    try {
      checkJson(bytes, "the value");
      return true;
    } catch {
      return false;
    }
  };
  const parses = (json: string) => {
    try {
      JSON.parse(json);
      return true;
    } catch {
      return false;
    }
  };

  test("accepts what JSON.parse accepts and refuses what it refuses, one edit away from JSON", () => {
    const letters = [...'{}[]",:\\ue0123456789-+.E tfnabrlus/\n\u0001é'];
    const edited = fc
      .tuple(
        fc.json({ maxDepth: 4 }),
        fc.array(fc.tuple(fc.nat(), fc.constantFrom("insert", "remove", "replace"), fc.constantFrom(...letters)), { maxLength: 3 }),
      )
      .map(([json, edits]) =>
        edits.reduce((before, [at, edit, letter]) => {
          const place = at % (before.length + 1);
          return before.slice(0, place) + (edit === "remove" ? "" : letter) + before.slice(edit === "insert" ? place : place + 1);
        }, json),
      )
      .filter((json) => json.isWellFormed());
    fc.assert(
      fc.property(edited, (json) => accepts(text(json)) === parses(json)),
      { numRuns: 5_000 },
    );
  });

  test("accepts and refuses short strings of JSON's letters as JSON.parse does", () => {
    const short = fc.array(fc.constantFrom(...'{}[]",:\\u0-+.1eE tn'), { maxLength: 7 }).map((letters) => letters.join(""));
    fc.assert(
      fc.property(short, (json) => accepts(text(json)) === parses(json)),
      { numRuns: 20_000 },
    );
  });

  test.each([
    "-",
    "01",
    "-01",
    "1.",
    ".5",
    "1e",
    "1e+",
    "+1",
    "NaN",
    "tru",
    "truee",
    '"\\x"',
    '"\\u12g4"',
    '"',
    "",
    " ",
    "{",
    "[1,]",
    '{"a":1,}',
    '{"a"}',
    "{a:1}",
    "1 2",
    "\ufeff1",
    '"\n"',
    "]",
  ])("refuses %j", (json) => {
    expect(() => checkJson(text(json), "the value")).toThrow(
      expect.objectContaining({ kind: "call", code: "bad-json", message: expect.stringContaining("the value is not JSON") }),
    );
  });

  test.each(["0", "-0", "1e400", "12345678901234567890", "-1.5E-7", '"\\ud800"', "\t[ ]\r\n", '{"__proto__":{}}', '""', "null"])("accepts %j", (json) => {
    expect(accepts(text(json))).toBe(true);
  });

  test("refuses bytes that are not UTF-8", () => {
    expect(() => checkJson(Buffer.from([0x22, 0xff, 0x22]), "the value")).toThrow(expect.objectContaining({ kind: "call", code: "bad-json" }));
  });

  test("refuses nesting beyond the limit, and names it", () => {
    const nested = (depth: number) => text(`${'[{"a":'.repeat(depth / 2)}1${"}]".repeat(depth / 2)}`);
    expect(accepts(nested(JSON_DEPTH_MAX))).toBe(true);
    expect(() => checkJson(nested(JSON_DEPTH_MAX + 2), "the value")).toThrow(expect.objectContaining({ code: "json-too-deep" }));
    expect(() => checkJson(text("[".repeat(1_000_000)), "the value")).toThrow(expect.objectContaining({ code: "json-too-deep" }));
  });
});

describe("mergePatch", () => {
  // RFC 7396, appendix A.
  test.each([
    ['{"a":"b"}', '{"a":"c"}', '{"a":"c"}'],
    ['{"a":"b"}', '{"b":"c"}', '{"a":"b","b":"c"}'],
    ['{"a":"b"}', '{"a":null}', "{}"],
    ['{"a":"b","b":"c"}', '{"a":null}', '{"b":"c"}'],
    ['{"a":["b"]}', '{"a":"c"}', '{"a":"c"}'],
    ['{"a":"c"}', '{"a":["b"]}', '{"a":["b"]}'],
    ['{"a":{"b":"c"}}', '{"a":{"b":"d","c":null}}', '{"a":{"b":"d"}}'],
    ['{"a":[{"b":"c"}]}', '{"a":[1]}', '{"a":[1]}'],
    ['["a","b"]', '["c","d"]', '["c","d"]'],
    ['{"a":"b"}', '["c"]', '["c"]'],
    ['{"a":"foo"}', "null", "null"],
    ['{"a":"foo"}', '"bar"', '"bar"'],
    ['{"e":null}', '{"a":1}', '{"e":null,"a":1}'],
    ["[1,2]", '{"a":"b","c":null}', '{"a":"b"}'],
    ["{}", '{"a":{"bb":{"ccc":null}}}', '{"a":{"bb":{}}}'],
  ])("%s patched with %s is %s", (target, patch, result) => {
    expect(patched(target, patch)).toBe(result);
  });

  test.each([
    [undefined, '{"a":null,"b":{"c":null,"d":1}}', '{"b":{"d":1}}'],
    [undefined, "[null]", "[null]"],
    [undefined, " 7 ", "7"],
    ['{"n":12345678901234567890,"m":1e400,"k":1.10,"x":1}', '{"x":2}', '{"n":12345678901234567890,"m":1e400,"k":1.10,"x":2}'],
    ['{"x":1}', '{"x":12345678901234567890,"y":-0,"z":1E400}', '{"x":12345678901234567890,"y":-0,"z":1E400}'],
    ['{"__proto__":{"a":1},"b":2}', '{"__proto__":{"c":3},"constructor":null}', '{"__proto__":{"a":1,"c":3},"b":2}'],
    ['{"b":1,"2":2,"1":3}', '{"0":4,"b":5}', '{"b":5,"2":2,"1":3,"0":4}'],
    ['{"\\u0061":1,"\u00e9":2}', '{"a":3,"\\u00e9":null}', '{"\\u0061":3}'],
    ['{"\\ud800":1,"\ufffd":2}', '{"\\ud800":3}', '{"\\ud800":3,"\ufffd":2}'],
    ['{"a":1,"a":{"x":1},"b":0,"b":9}', '{"a":{"y":2}}', '{"a":{"x":1,"y":2},"b":0,"b":9}'],
    ['{"a":1,"a":2}', '{"a":null}', "{}"],
    ["{}", '{"a":null,"a":1,"b":1,"b":null}', '{"a":1}'],
    [' { "a" : { "k" : 1 } , "b" : [ 1 , 2 ] } ', '{"a":{"j":2}}', '{"a":{"k" : 1,"j":2},"b" : [ 1 , 2 ]}'],
  ])("%s patched with %s is %s, byte for byte", (target, patch, result) => {
    expect(patched(target, patch)).toBe(result);
  });

  const json = fc.json({ maxDepth: 4 });
  const small = fc.letrec((tie) => ({
    value: fc.oneof({ maxDepth: 4 }, fc.constantFrom<unknown>(null, 1, "x", true, [1, null]), tie("object")),
    object: fc
      .uniqueArray(fc.tuple(fc.constantFrom("a", "b", "1", "__proto__", "é"), tie("value")), { selector: ([name]) => name, maxLength: 4 })
      .map(fromPairs),
  })).value;

  test("gives the object of the RFC's own algorithm", () => {
    fc.assert(
      fc.property(small, small, (target, patch) => {
        expect(JSON.parse(patched(JSON.stringify(target), JSON.stringify(patch)))).toEqual(reference(target, patch));
      }),
      { numRuns: 3_000 },
    );
  });

  test("gives JSON that passes the door, not longer than both texts", () => {
    fc.assert(
      fc.property(json, json, (target, patch) => {
        const result = mergePatch(text(target), text(patch));
        checkJson(result, "the result");
        return result.length <= Buffer.byteLength(target) + Buffer.byteLength(patch);
      }),
    );
  });

  test("an object patch applied twice is applied once", () => {
    fc.assert(
      fc.property(small, small, (target, patch) => {
        const once = patched(JSON.stringify(target), JSON.stringify(patch));
        expect(patched(once, JSON.stringify(patch))).toBe(once);
      }),
    );
  });

  test("handles the deepest patch of the deepest value", () => {
    const deep = (leaf: string) => '{"a":'.repeat(JSON_DEPTH_MAX - 1) + leaf + "}".repeat(JSON_DEPTH_MAX - 1);
    expect(patched(deep('{"x":1}'), deep('{"y":2}'))).toBe(deep('{"x":1,"y":2}'));
  });

  test("takes time by the bytes of both texts, however many members they share", () => {
    const wide = (value: number) => text(JSON.stringify(Object.fromEntries(Array.from({ length: 200_000 }, (_, place) => [`m${place}`, value]))));
    expect(mergePatch(wide(1), wide(2)).equals(wide(2))).toBe(true);
  });

  test("a stored value that is not JSON is refused, not a result", () => {
    expect(() => patched('{"a":', "{}")).toThrow(RangeError);
    expect(() => patched("{}", '{"a"')).toThrow(RangeError);
  });

  test("replacesValue says when the value before does not matter", () => {
    fc.assert(
      fc.property(small, small, small, (one, other, patch) => {
        const bytes = text(` ${JSON.stringify(patch)}`);
        if (replacesValue(bytes, 0, bytes.length))
          expect(patched(JSON.stringify(one), bytes.toString())).toBe(patched(JSON.stringify(other), bytes.toString()));
        else expect(typeof patch).toBe("object");
      }),
    );
  });
});

describe("patchValue", () => {
  test("a patch whose result would be too large leaves the value as it is", () => {
    const target = text(`{"a":"${"x".repeat(VALUE_BYTES_MAX - 8)}"}`);
    expect(target.length).toBe(VALUE_BYTES_MAX);
    expect(patchValue(target, text('{"b":1}'))).toBe(target);
    expect(patchValue(target, text('{"a":1}')).toString()).toBe('{"a":1}');
  });
});

function fromPairs(pairs: readonly (readonly [string, unknown])[]): unknown {
  const object = {};
  for (const [name, value] of pairs) Object.defineProperty(object, name, { value, enumerable: true, configurable: true, writable: true });
  return object;
}

/** RFC 7396, section 2, on objects; entries keep `__proto__` a member. */
function reference(target: unknown, patch: unknown): unknown {
  if (!isObject(patch)) return patch;
  const members = new Map(isObject(target) ? Object.entries(target) : []);
  for (const [name, value] of Object.entries(patch)) {
    if (value === null) members.delete(name);
    else members.set(name, reference(members.get(name), value));
  }
  return fromPairs([...members]);
}

function isObject(value: unknown): value is object {
  return typeof value === "object" && value !== null && !Array.isArray(value);
}

describe("patchValueByEach", () => {
  const oneByOne = (target: Buffer | undefined, patches: readonly Buffer[], bytesMax?: number) =>
    patches.reduce<Buffer | undefined>((value, patch) => patchValue(value, patch, bytesMax), target);
  const space = fc.constantFrom("", "", " ", "\n\t");
  const name = fc.constantFrom('"a"', '"b"', '"\\u0061"', '"__proto__"', '"c d"', '""');
  const { value } = fc.letrec<{ value: string; object: string }>((tie) => ({
    value: fc.oneof({ maxDepth: 3, withCrossShrink: true }, fc.constantFrom("null", "1e400", "-0", '"\\ud800"', "[ 1, {} ]", '"null"'), tie("object")),
    object: fc
      .tuple(space, fc.array(fc.tuple(space, name, space, space, tie("value"), space), { maxLength: 5 }))
      .map(
        ([inside, list]) => `{${inside}${list.map(([before, key, behind, front, json, end]) => `${before}${key}${behind}:${front}${json}${end}`).join(",")}}`,
      ),
  }));
  const json = fc.tuple(space, value, space).map((parts) => text(parts.join("")));

  test("gives what the patches give one after the other, byte for byte", () => {
    fc.assert(
      fc.property(fc.option(json, { nil: undefined }), fc.array(json, { maxLength: 6 }), (target, patches) => {
        expect(patchValueByEach(target, patches)?.toString()).toBe(oneByOne(target, patches)?.toString());
      }),
      { numRuns: 5_000 },
    );
  });

  test("passes over those whose result would be too large, to the byte", () => {
    fc.assert(
      fc.property(fc.option(json, { nil: undefined }), fc.array(json, { maxLength: 6 }), fc.nat(60), (target, patches, bytesMax) => {
        expect(patchValueByEach(target, patches, bytesMax)?.toString()).toBe(oneByOne(target, patches, bytesMax)?.toString());
      }),
      { numRuns: 5_000 },
    );
  });

  test("walks over a document that has no more room once, however many patches it does not take", () => {
    const members = Array.from({ length: 100_000 }, (_, place) => `"member-${100_000 + place}":{"at":${place}}`);
    const target = text(`{${members.join(",")}}`);
    const patches = Array.from({ length: 5_000 }, (_, place) => text(`{"member-${place}":{"at":${place}}}`));
    expect(patchValueByEach(target, [...patches, text('{"member-100000":7}')], target.length)?.length).toBe(target.length - 7);
  });

  test("passes over those whose result would be too large alone, wherever they come", () => {
    const long = (member: string, bytes: number) => text(JSON.stringify({ [member]: "x".repeat(bytes) }));
    const quarter = VALUE_BYTES_MAX / 4;
    const patches = [
      long("a", quarter),
      long("b", quarter),
      long("c", 2.5 * quarter),
      text('{"n":1}'),
      long("b", 1),
      long("c", 2.5 * quarter),
      text('{"a":null}'),
      long("d", quarter),
    ];
    for (const target of [undefined, text("{}"), long("t", quarter), long("t", 4 * quarter)]) {
      const found = patchValueByEach(target, patches);
      expect(found?.equals(oneByOne(target, patches) ?? text(""))).toBe(true);
    }
    expect(patchValueByEach(text("[1]"), [])).toEqual(text("[1]"));
    expect(patchValueByEach(undefined, [])).toBeUndefined();
  });

  test("is refused where one of them is not JSON", () => {
    expect(() => patchValueByEach(text("{}"), [text('{"a":1}'), text('{"a":')])).toThrow(RangeError);
  });

  test("takes a document apart once, however often it is changed", () => {
    const members = Array.from({ length: 10_000 }, (_, number) => [`user/${number}`, { seen: number }]);
    const patches = Array.from({ length: 50_000 }, (_, number) => text(`{"user/${(number * 7) % 10_000}":{"seen":${number}}}`));
    const found = JSON.parse(String(patchValueByEach(text(JSON.stringify(Object.fromEntries(members))), patches)));
    expect([Object.keys(found).length, found["user/7"], found["user/9993"]]).toEqual([10_000, { seen: 40_001 }, { seen: 49_999 }]);
  });
});
