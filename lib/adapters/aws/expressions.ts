// Conditions and changes as DynamoDB's expressions. Only a compiler: what they mean is the port's (CheckpointStore).
// Every name is aliased, since DynamoDB reserves several hundred words.

import type { AttributeValue } from "@aws-sdk/client-dynamodb";
import type { Attribute, Attributes, Condition, Item, ItemKey } from "../../ports/checkpoint-store.ts";
import { damagedObject } from "../../model/errors.ts";
import { PARTITION, SORT } from "../item-changes.ts";

export type Values = Record<string, AttributeValue>;

/** The part of a request that expressions refer to; empty maps are left out, for DynamoDB refuses them. */
export interface Aliases {
  readonly ExpressionAttributeNames?: Record<string, string>;
  readonly ExpressionAttributeValues?: Values;
}

/** Compiles the expressions of one request, which share their aliases. */
export class ExpressionCompiler {
  readonly #names = new Map<string, string>();
  readonly #values: Values = {};

  name(attribute: string): string {
    const alias = this.#names.get(attribute) ?? `#n${this.#names.size}`;
    this.#names.set(attribute, alias);
    return alias;
  }

  value(value: Attribute): string {
    const alias = `:v${Object.keys(this.#values).length}`;
    this.#values[alias] = marshal(value);
    return alias;
  }

  /** All of the conditions; undefined if there are none. */
  conditions(when: readonly Condition[]): string | undefined {
    return when.length === 0 ? undefined : when.map((condition) => this.#condition(condition)).join(" AND ");
  }

  update(set: Attributes, remove: readonly string[]): string {
    const sets = Object.entries(set).map(([name, value]) => `${this.name(name)} = ${this.value(value)}`);
    const removes = remove.map((name) => this.name(name));
    return [sets.length > 0 ? `SET ${sets.join(", ")}` : "", removes.length > 0 ? `REMOVE ${removes.join(", ")}` : ""]
      .filter((clause) => clause !== "")
      .join(" ");
  }

  aliases(): Aliases {
    const names = Object.fromEntries([...this.#names].map(([attribute, alias]) => [alias, attribute]));
    return {
      ...(this.#names.size > 0 && { ExpressionAttributeNames: names }),
      ...(Object.keys(this.#values).length > 0 && { ExpressionAttributeValues: this.#values }),
    };
  }

  #condition(condition: Condition): string {
    switch (condition.kind) {
      case "absent":
        return `attribute_not_exists(${this.name(PARTITION)})`;
      case "present":
        return `attribute_exists(${this.name(PARTITION)})`;
      case "eq":
        return `${this.name(condition.attribute)} = ${this.value(condition.value)}`;
      case "lt":
        return `(attribute_not_exists(${this.name(condition.attribute)}) OR ${this.name(condition.attribute)} < ${this.value(condition.value)})`;
    }
  }
}

export function marshalKey({ partition, sort }: ItemKey): Values {
  return { [PARTITION]: { S: partition }, [SORT]: { S: sort } };
}

export function marshalItem(key: ItemKey, attributes: Attributes): Values {
  return { ...marshalMap(attributes), ...marshalKey(key) };
}

function marshalMap(attributes: Attributes): Values {
  return Object.fromEntries(Object.entries(attributes).map(([name, value]) => [name, marshal(value)]));
}

function marshal(value: Attribute): AttributeValue {
  if (typeof value === "string") return { S: value };
  if (typeof value === "number") return { N: String(value) };
  if (typeof value === "boolean") return { BOOL: value };
  return isList(value) ? { L: value.map(marshal) } : { M: marshalMap(value) };
}

/** Parses an item; one that somebody else wrote, with what the port has no word for, is damage. */
export function unmarshalItem(values: Values): Item {
  const { [PARTITION]: partition, [SORT]: sort, ...rest } = values;
  if (partition?.S === undefined || sort?.S === undefined) throw damagedObject("an item", "its keys are not texts");
  const place = `the item ${partition.S} ${sort.S}`;
  return { key: { partition: partition.S, sort: sort.S }, attributes: unmarshalMap(rest, place) };
}

function unmarshalMap(values: Values, place: string): Attributes {
  return Object.fromEntries(Object.entries(values).map(([name, value]) => [name, unmarshal(value, place)]));
}

function unmarshal(value: AttributeValue, place: string): Attribute {
  if (value.S !== undefined) return value.S;
  if (value.N !== undefined) return unmarshalNumber(value.N, place);
  if (value.BOOL !== undefined) return value.BOOL;
  if (value.L !== undefined) return value.L.map((inner) => unmarshal(inner, place));
  if (value.M !== undefined) return unmarshalMap(value.M, place);
  throw damagedObject(place, `it holds a value of type ${Object.keys(value)[0] ?? "none"}`);
}

function unmarshalNumber(text: string, place: string): number {
  const number = Number(text);
  if (!Number.isFinite(number) || (Number.isInteger(number) && !Number.isSafeInteger(number))) throw damagedObject(place, `${text} is not a safe number`);
  return number;
}

function isList(value: readonly Attribute[] | Attributes): value is readonly Attribute[] {
  return Array.isArray(value);
}
