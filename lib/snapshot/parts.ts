// Which parts a snapshot's bytes are uploaded in (pure). The bytes come in order: those that are made, and those that the base
// has, which are copied by the store itself wherever S3 allows it: a part other than the last has at least PART_BYTES_MIN.
//
// A stretch of the base that is long enough is copied. A shorter one is fetched and sent like bytes that are made. A part that
// would be too short before a stretch is filled up with the stretch's first bytes. The parts are a function of the bytes behind
// the last finished part, so that a worker who goes on there cuts them alike (rule 15).

import { assert } from "../model/assert.ts";

/** Where the bytes of a part come from: `made` here, or `fetched` from the base at `sourceOffset`. */
export type Ingredient =
  | { readonly kind: "made"; readonly length: number }
  | { readonly kind: "fetched"; readonly sourceOffset: number; readonly length: number };

/** A part of the object, from `offset` on. */
export type PlannedPart = { readonly number: number; readonly offset: number; readonly length: number } & (
  | { readonly kind: "upload"; readonly ingredients: readonly Ingredient[] }
  | { readonly kind: "copy"; readonly sourceOffset: number }
);

export interface PartSizes {
  /** An uploaded part is cut at so many bytes. */
  readonly partBytes: number;
  /** No part but the last is shorter. */
  readonly partBytesMin: number;
  /** A longer stretch is copied by several parts, side by side. */
  readonly copyBytes: number;
}

export interface PartPlanner {
  /** So many bytes that are made here; returns the parts that are full. */
  made(length: number): readonly PlannedPart[];
  /** The next bytes are the base's from `sourceOffset` on. */
  carried(sourceOffset: number, length: number): readonly PlannedPart[];
  /** Nothing follows. */
  end(): readonly PlannedPart[];
}

/** @param start the part and the offset to go on at; default: the object's beginning */
export function partPlanner({ partBytes, partBytesMin, copyBytes }: PartSizes, start = { number: 1, offset: 0 }): PartPlanner {
  let { number, offset } = start;
  let pending: Ingredient[] = [];
  let pendingBytes = 0;

  function made(length: number): readonly PlannedPart[] {
    add({ kind: "made", length });
    return full();
  }

  function carried(sourceOffset: number, length: number): readonly PlannedPart[] {
    const lacking = pendingBytes === 0 ? 0 : Math.max(0, partBytesMin - pendingBytes);
    if (length - lacking < partBytesMin) {
      add({ kind: "fetched", sourceOffset, length });
      return full();
    }
    if (lacking > 0) add({ kind: "fetched", sourceOffset, length: lacking });
    const parts = pendingBytes > 0 ? [upload(pendingBytes)] : [];
    for (let at = lacking; at < length; ) {
      const copied = length - at - copyBytes >= partBytesMin ? copyBytes : length - at;
      parts.push({ ...place(copied), kind: "copy", sourceOffset: sourceOffset + at });
      at += copied;
    }
    return parts;
  }

  function add(ingredient: Ingredient): void {
    if (ingredient.length === 0) return;
    pending.push(ingredient);
    pendingBytes += ingredient.length;
  }

  function full(): PlannedPart[] {
    const parts: PlannedPart[] = [];
    while (pendingBytes >= partBytes) parts.push(upload(partBytes));
    return parts;
  }

  /** A part of the first `length` pending bytes. */
  function upload(length: number): PlannedPart {
    assert(length > 0 && length <= pendingBytes, "a part has bytes that are there");
    const ingredients: Ingredient[] = [];
    for (let lacking = length; lacking > 0; ) {
      const first = pending[0];
      const taken = Math.min(first.length, lacking);
      ingredients.push({ ...first, length: taken });
      pending = taken === first.length ? pending.slice(1) : [rest(first, taken), ...pending.slice(1)];
      lacking -= taken;
    }
    pendingBytes -= length;
    return { ...place(length), kind: "upload", ingredients };
  }

  function place(length: number): { readonly number: number; readonly offset: number; readonly length: number } {
    offset += length;
    number += 1;
    return { number: number - 1, offset: offset - length, length };
  }

  return {
    made,
    carried,
    end: () => (pendingBytes > 0 ? [upload(pendingBytes)] : []),
  };
}

/**
 * Holds the last part back until another follows, so that none of them is too short, not even the last: for a section, behind
 * which another's parts lie. Bytes that are too few for a part altogether are one all the same: who has so few cannot be a section.
 */
export function heldBack(planner: PartPlanner, { partBytesMin }: Pick<PartSizes, "partBytesMin">): PartPlanner {
  let held: PlannedPart | undefined;

  function release(parts: readonly PlannedPart[]): readonly PlannedPart[] {
    if (parts.length === 0) return [];
    const released = held === undefined ? parts.slice(0, -1) : [held, ...parts.slice(0, -1)];
    held = parts[parts.length - 1];
    return released;
  }

  return {
    made: (length) => release(planner.made(length)),
    carried: (sourceOffset, length) => release(planner.carried(sourceOffset, length)),
    end() {
      const [last] = planner.end();
      if (held === undefined) return last === undefined ? [] : [last];
      return last === undefined || last.length >= partBytesMin ? [held, ...(last === undefined ? [] : [last])] : lengthened(held, last, partBytesMin);
    },
  };
}

/** Two parts of the bytes of a part and of a short one behind it, or one, none of them short. */
function lengthened(part: PlannedPart, short: PlannedPart, partBytesMin: number): readonly PlannedPart[] {
  const ingredients = short.kind === "upload" ? short.ingredients : [];
  if (part.kind === "upload") return [{ ...part, length: part.length + short.length, ingredients: [...part.ingredients, ...ingredients] }];
  const lacking = partBytesMin - short.length;
  const copied = part.length - lacking >= partBytesMin ? part.length - lacking : 0;
  const fetched: Ingredient = { kind: "fetched", sourceOffset: part.sourceOffset + copied, length: part.length - copied };
  const number = copied > 0 ? part.number + 1 : part.number;
  const upload: PlannedPart = {
    number,
    offset: part.offset + copied,
    length: fetched.length + short.length,
    kind: "upload",
    ingredients: [fetched, ...ingredients],
  };
  return copied > 0 ? [{ ...part, length: copied }, upload] : [upload];
}

function rest(ingredient: Ingredient, taken: number): Ingredient {
  const length = ingredient.length - taken;
  return ingredient.kind === "made" ? { kind: "made", length } : { ...ingredient, sourceOffset: ingredient.sourceOffset + taken, length };
}
