// Edits (edited.ts) that fast-check draws, and the like of JSON.

import fc from "fast-check";
import { type Edit, EDITS, EXTREMES } from "./edited.ts";

const share = fc.double({ min: 0, max: 1, noNaN: true, maxExcluded: true });

const edit: fc.Arbitrary<Edit> = fc.record({
  kind: fc.constantFrom(...EDITS),
  at: share,
  length: fc.oneof(
    fc.constant(0),
    share.map((part) => part ** 4),
  ),
  to: share,
  byte: fc.oneof(fc.constantFrom(0, 1, 0x7f, 0x80, 0xff), fc.nat(255)),
  number: fc.constantFrom(...EXTREMES),
});

export const edits: fc.Arbitrary<readonly Edit[]> = fc.array(edit, { minLength: 1, maxLength: 4 });

/** Any JSON value with a few of its members lost, doubled, of another kind or in each other's places. */
export function editedJson(value: unknown): fc.Arbitrary<unknown> {
  const places = pathsIn(value);
  const change = fc.record({
    path: fc.constantFrom(...places),
    value: fc.oneof(
      fc.constantFrom<unknown>(undefined, null, true, "", [], {}, 0, -1, 0.5, 1e300, Number.MAX_SAFE_INTEGER),
      fc.jsonValue({ maxDepth: 2 }),
      fc.string({ unit: "binary", maxLength: 40 }),
    ),
    from: fc.option(fc.constantFrom(...places), { nil: undefined }),
  });
  return fc
    .array(change, { minLength: 1, maxLength: 3 })
    .map((changes) => changes.reduce((whole, { path, value: wanted, from }) => withAt(whole, path, from === undefined ? wanted : valueAt(value, from)), value));
}

type Path = readonly (string | number)[];

function pathsIn(value: unknown, path: Path = []): readonly Path[] {
  if (typeof value !== "object" || value === null) return [path];
  const members = Array.isArray(value) ? [...value.keys()] : Object.keys(value);
  return [path, ...members.flatMap((name) => pathsIn((value as Record<string | number, unknown>)[name], [...path, name]))];
}

function valueAt(value: unknown, path: Path): unknown {
  return path.reduce<unknown>((inner, name) => (inner as Record<string | number, unknown> | undefined)?.[name], value);
}

function withAt(value: unknown, [name, ...rest]: Path, wanted: unknown): unknown {
  if (name === undefined) return wanted;
  if (Array.isArray(value) && typeof name === "number") return value.map((one, place) => (place === name ? withAt(one, rest, wanted) : one));
  if (typeof value !== "object" || value === null) return value;
  return { ...value, [name]: withAt((value as Record<string, unknown>)[name], rest, wanted) };
}
