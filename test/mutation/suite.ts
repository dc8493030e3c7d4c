// What a test file imports of vitest, for runner.ts: the same `expect`, and a `test` that keeps what it is given, so that
// one process loads the files once and runs any of their tests under any mutant, as often as it likes.

import { format } from "node:util";
import * as vitest from "vitest";

type Body = (context: { readonly skip: (why?: string) => void }) => unknown;
type Row = readonly unknown[] | unknown;
type RowBody = (...row: readonly never[]) => unknown;

interface Hooks {
  readonly beforeAll: Body[];
  readonly afterAll: Body[];
  readonly beforeEach: Body[];
  readonly afterEach: Body[];
}

/** The hooks of a file or of a `describe`. Those before all tests are run before each run of any of them: a mutant reaches them as well. */
export interface Scope extends Hooks {
  readonly name: string;
  readonly parent: Scope | undefined;
}

export interface Test {
  /** File and title, unique. */
  readonly id: string;
  readonly file: string;
  readonly scope: Scope;
  readonly body: Body;
}

export const expect = vitest.expect;

const tests = new Map<string, Test>();
let file = "";
let scope = scopeOf("", undefined);

/** Loads a file, and gives its tests in their order. */
export async function testsOf(path: string, load: () => Promise<unknown>): Promise<readonly Test[]> {
  tests.clear();
  file = path;
  scope = scopeOf("", undefined);
  await load();
  return [...tests.values()];
}

export const test = Object.assign(add, {
  each: (rows: readonly Row[]) => (title: string, body: RowBody) => eachOf(rows, title, (name, row) => add(name, () => body(...row))),
});

export const describe = Object.assign(within, {
  each: (rows: readonly Row[]) => (title: string, body: RowBody) => eachOf(rows, title, (name, row) => within(name, () => void body(...row))),
});

export function beforeAll(body: Body): void {
  scope.beforeAll.push(body);
}

export function afterAll(body: Body): void {
  scope.afterAll.push(body);
}

export function beforeEach(body: Body): void {
  scope.beforeEach.push(body);
}

export function afterEach(body: Body): void {
  scope.afterEach.push(body);
}

function add(title: string, ...rest: readonly unknown[]): void {
  const body = rest.find((one): one is Body => typeof one === "function");
  if (body === undefined) throw new Error(`the test "${title}" has no body`);
  const names: string[] = [title];
  for (let at: Scope | undefined = scope; at !== undefined; at = at.parent) if (at.name !== "") names.unshift(at.name);
  const name = `${file}#${names.join(" > ")}`;
  const id = tests.has(name) ? `${name} (${tests.size})` : name;
  tests.set(id, { id, file, scope, body });
}

function within(name: string, body: () => void): void {
  const outer = scope;
  scope = scopeOf(name, outer);
  body();
  scope = outer;
}

function eachOf(rows: readonly Row[], title: string, each: (name: string, row: readonly never[]) => void): void {
  rows.forEach((row, at) => {
    const values: readonly unknown[] = Array.isArray(row) ? row : [row];
    const places = (title.replaceAll("%%", "").match(/%[sdifjoO]/g) ?? []).length;
    each(`${format(title, ...values.slice(0, places))} [${at}]`, values as readonly never[]);
  });
}

function scopeOf(name: string, parent: Scope | undefined): Scope {
  return { name, parent, beforeAll: [], afterAll: [], beforeEach: [], afterEach: [] };
}
