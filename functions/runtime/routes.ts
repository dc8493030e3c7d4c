// Which route a call takes: `/tables/{table}` and its like.

export interface Route<Work> {
  readonly method: string;
  readonly path: string;
  readonly work: Work;
}

/** What a route's names stand for. */
export type Parameters = Readonly<Record<string, string>>;

export type Match<Work> =
  | { readonly kind: "found"; readonly route: Route<Work>; readonly parameters: Parameters }
  | { readonly kind: "no-path" }
  | { readonly kind: "no-method"; readonly allowed: readonly string[] };

/** `path`: decoded parts. */
export function matchRoute<Work>(routes: readonly Route<Work>[], method: string, path: readonly string[]): Match<Work> {
  const allowed: string[] = [];
  for (const route of routes) {
    const parameters = parametersOf(route.path, path);
    if (parameters === undefined) continue;
    if (route.method === method) return { kind: "found", route, parameters };
    allowed.push(route.method);
  }
  return allowed.length === 0 ? { kind: "no-path" } : { kind: "no-method", allowed };
}

function parametersOf(pattern: string, path: readonly string[]): Parameters | undefined {
  const names = pattern.split("/").slice(1);
  if (names.length !== path.length) return undefined;
  if (names.some((name, place) => !isName(name) && name !== path[place])) return undefined;
  return Object.fromEntries(names.flatMap((name, place) => (isName(name) ? [[name.slice(1, -1), path[place]] as const] : [])));
}

function isName(part: string): boolean {
  return part.startsWith("{");
}
