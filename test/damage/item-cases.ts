// Every way in which an item is damaged here: each attribute lost, of another kind, each character of a text changed and each
// length cut, numbers moved, words and flags turned over; deep within maps and lists as well.

import type { Attribute, Attributes } from "../../lib/ports/checkpoint-store.ts";

export interface ItemCase {
  readonly what: string;
  readonly attributes: Attributes;
}

export function damagedItems(attributes: Attributes): readonly ItemCase[] {
  return Object.entries(attributes).flatMap(([name, value]) => [
    { what: `without ${name}`, attributes: without(attributes, name) },
    ...damagedValues(value).map(({ what, value: wrong }) => ({ what: `${name} ${what}`, attributes: { ...attributes, [name]: wrong } })),
  ]);
}

interface ValueCase {
  readonly what: string;
  readonly value: Attribute;
}

function damagedValues(value: Attribute): readonly ValueCase[] {
  switch (typeof value) {
    case "string":
      return [...damagedTexts(value), ...others(value)];
    case "number":
      return [...[value + 1, value - 1, 0, 1, value * 2, Number.MAX_SAFE_INTEGER, -1, 0.5].filter((one) => one !== value).map(told), ...others(value)];
    case "boolean":
      return [told(!value), ...others(value)];
    default:
      return isList(value)
        ? [...value.flatMap((one, place) => damagedValues(one).map((wrong) => inPlace(value, place, wrong))), told([]), told(value.slice(1)), ...others(value)]
        : [...damagedItems(value).map(({ what, attributes }) => ({ what: `(${what})`, value: attributes })), told({}), ...others(value)];
  }
}

const LONG_TEXT = 100;
/** A longer text is not cut at each length, but at each so manieth. */
const CUT_LONG_EVERY = 7;

/** Each character changed, by its lowest bit and by its case in turn; a text cut at each length, and with more behind it. */
function damagedTexts(text: string): readonly ValueCase[] {
  const cases: ValueCase[] = [];
  for (let at = 0; at < text.length; at++) {
    const changed = String.fromCharCode(text.charCodeAt(at) ^ (at % 2 === 0 ? 1 : 32));
    cases.push({ what: `with ${JSON.stringify(changed)} at ${at}`, value: text.slice(0, at) + changed + text.slice(at + 1) });
    if (text.length <= LONG_TEXT || at % CUT_LONG_EVERY === 0) cases.push({ what: `cut at ${at}`, value: text.slice(0, at) });
  }
  return [...cases, { what: "twice", value: text + text }];
}

/** Of every other kind. */
function others(value: Attribute): readonly ValueCase[] {
  const kinds: readonly Attribute[] = ["text", 7, true, ["text"], { name: "text" }];
  return kinds.filter((other) => typeof other !== typeof value || (typeof value === "object" && isList(value) !== isList(other))).map(told);
}

function told(value: Attribute): ValueCase {
  return { what: `as ${JSON.stringify(value)}`, value };
}

function inPlace(list: readonly Attribute[], place: number, { what, value }: ValueCase): ValueCase {
  return { what: `[${place}] ${what}`, value: list.with(place, value) };
}

function without(attributes: Attributes, name: string): Attributes {
  return Object.fromEntries(Object.entries(attributes).filter(([other]) => other !== name));
}

function isList(value: Attribute): value is readonly Attribute[] {
  return Array.isArray(value);
}
