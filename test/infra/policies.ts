// What a principal of a synthesized template may do, decided as IAM does: a statement allows if its action, resource and
// conditions match, and a denial wins. LocalStack checks no policy, so this is where a missing or a needless right shows.
//
// Resources are written with construct ids in place of ARNs, as they stand below the pipeline: `<Bucket.Arn>/players/0/…`.

import type { Template } from "aws-cdk-lib/assertions";

/** What a request brings for conditions, as `dynamodb:LeadingKeys`. */
export type Context = Readonly<Record<string, readonly string[]>>;

export interface Statement {
  readonly effect: string;
  readonly actions: readonly string[];
  readonly resources: readonly string[];
  readonly conditions: Readonly<Record<string, Readonly<Record<string, readonly string[]>>>>;
}

interface Resource {
  readonly Type: string;
  readonly Properties: Readonly<Record<string, unknown>>;
  readonly Metadata?: { readonly "aws:cdk:path"?: string };
}

/** @param role the id of the role's construct: `IngestRole` for the function `ingest`. */
export function may(template: Template, role: string, action: string, resource: string, context: Context = {}): boolean {
  const matching = statementsOf(template, role).filter(
    ({ actions, resources, conditions }) =>
      actions.some((pattern) => like(action, pattern)) && resources.some((pattern) => like(resource, pattern)) && hold(conditions, context),
  );
  return matching.some(({ effect }) => effect === "Allow") && matching.every(({ effect }) => effect !== "Deny");
}

/** Of the actions named, those that the role may do on each resource; resources without any are left out. */
export function permissions(
  template: Template,
  role: string,
  resources: Readonly<Record<string, string>>,
  actions: readonly string[],
  context: Context = {},
): Readonly<Record<string, readonly string[]>> {
  const allowed = Object.entries(resources).map(
    ([name, resource]) => [name, actions.filter((action) => may(template, role, action, resource, context)).toSorted()] as const,
  );
  return Object.fromEntries(allowed.filter(([, some]) => some.length > 0));
}

/** Every statement in the policies of a role. */
export function statementsOf(template: Template, role: string): readonly Statement[] {
  const resources = resourcesOf(template);
  const policies = Object.values(resources).filter(({ Type, Properties }) => Type === "AWS::IAM::Policy" && rolesOf(Properties, resources).includes(role));
  return policies.flatMap(({ Properties }) => list(member(Properties.PolicyDocument, "Statement")).map((statement) => parse(statement, resources)));
}

/** The ids of all roles. */
export function roleNames(template: Template): readonly string[] {
  return Object.values(resourcesOf(template)).flatMap((resource) => (resource.Type === "AWS::IAM::Role" ? [constructId(resource)] : []));
}

function resourcesOf(template: Template): Readonly<Record<string, Resource>> {
  return template.toJSON().Resources;
}

function rolesOf({ Roles }: Resource["Properties"], resources: Readonly<Record<string, Resource>>): readonly string[] {
  return list(Roles).map((role) => constructId(resources[String(member(role, "Ref"))]));
}

/** `Stack/Pipeline/SnapshotRole/Resource` is SnapshotRole. */
function constructId(resource: Resource): string {
  return resource.Metadata?.["aws:cdk:path"]?.split("/").at(-2) ?? "";
}

function parse(statement: unknown, resources: Readonly<Record<string, Resource>>): Statement {
  const conditions = Object.entries(Object(member(statement, "Condition")));
  return {
    effect: String(member(statement, "Effect")),
    actions: list(member(statement, "Action")).map(String),
    resources: list(member(statement, "Resource")).map((resource) => flat(resource, resources)),
    conditions: Object.fromEntries(
      conditions.map(([operator, keys]) => [
        operator,
        Object.fromEntries(Object.entries(Object(keys)).map(([key, values]) => [key, list(values).map(String)])),
      ]),
    ),
  };
}

/** A resolved ARN as one text, with construct ids in place of logical ids. */
function flat(value: unknown, resources: Readonly<Record<string, Resource>>): string {
  if (typeof value === "string") return value;
  const [delimiter, parts] = list(member(value, "Fn::Join"));
  if (parts !== undefined)
    return list(parts)
      .map((part) => flat(part, resources))
      .join(String(delimiter));
  const [logicalId, attribute] = list(member(value, "Fn::GetAtt"));
  if (logicalId !== undefined) return `<${constructId(resources[String(logicalId)])}.${String(attribute)}>`;
  return `<${String(member(value, "Ref"))}>`;
}

function hold(conditions: Statement["conditions"], context: Context): boolean {
  return Object.entries(conditions).every(([operator, keys]) =>
    Object.entries(keys).every(([key, patterns]) => OPERATORS[operator]?.(context[key], patterns) ?? unknownOperator(operator)),
  );
}

type Operator = (values: readonly string[] | undefined, patterns: readonly string[]) => boolean;

const OPERATORS: Readonly<Record<string, Operator>> = {
  StringEquals: (values, patterns) => values !== undefined && patterns.includes(values[0]),
  Bool: (values, patterns) => values !== undefined && patterns.includes(values[0]),
  StringLikeIfExists: (values, patterns) => values === undefined || patterns.some((pattern) => like(values[0], pattern)),
  "ForAllValues:StringEquals": (values = [], patterns) => values.every((value) => patterns.includes(value)),
  "ForAllValues:StringLike": (values = [], patterns) => values.every((value) => patterns.some((pattern) => like(value, pattern))),
  "ForAnyValue:StringEquals": (values = [], patterns) => values.some((value) => patterns.includes(value)),
};

function unknownOperator(operator: string): never {
  throw new Error(`the condition ${operator} is not known here: add it to OPERATORS`);
}

/** IAM's patterns: `*` for any text, slashes included, `?` for any sign. */
function like(text: string, pattern: string): boolean {
  const source = pattern
    .replaceAll(/[.+^${}()|[\]\\]/g, "\\$&")
    .replaceAll("*", ".*")
    .replaceAll("?", ".");
  return new RegExp(`^${source}$`, "s").test(text);
}

function list(value: unknown): readonly unknown[] {
  if (value === undefined) return [];
  return Array.isArray(value) ? value : [value];
}

function member(value: unknown, name: string): unknown {
  return Object(value)[name];
}
