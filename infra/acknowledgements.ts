// Findings of cdk-nag (AwsSolutions) that were looked at and stay, each with its reason, told where the resource is made.
// Nothing else is acknowledged, so that a new wildcard is a new finding.

import { Aspects, Stack, Validations } from "aws-cdk-lib";
import type { IConstruct } from "constructs";

export interface Acknowledgement {
  readonly rule: string;
  readonly reason: string;
}

export function acknowledge(construct: IConstruct, ...findings: readonly Acknowledgement[]): void {
  Validations.of(construct).acknowledge(...findings.map(({ rule, reason }) => ({ id: `AwsSolutions-${rule}`, reason })));
}

/** For each wildcard among `resources` in the policies below `construct`. */
export function acknowledgeWildcards(construct: IConstruct, resources: readonly string[], reason: string): void {
  // The finding's name holds logical ids, and asking for one fixes it: so only when the tree is complete.
  Aspects.of(construct).add({
    visit(node) {
      if (node !== construct) return;
      const names = resources.map((resource) => findingName(Stack.of(construct).resolve(resource))).filter((name) => name.includes("*"));
      acknowledge(construct, ...names.map((name) => ({ rule: `IAM5[Resource::${name}]`, reason })));
    },
  });
}

/** A resolved ARN as cdk-nag writes it: `<Bucket83908E77.Arn>/*`. */
function findingName(resolved: unknown): string {
  if (typeof resolved === "string") return resolved;
  if (typeof resolved !== "object" || resolved === null) return "";
  if ("Fn::Join" in resolved) return joined(resolved["Fn::Join"]);
  if ("Fn::GetAtt" in resolved && Array.isArray(resolved["Fn::GetAtt"])) return `<${resolved["Fn::GetAtt"].join(".")}>`;
  if ("Ref" in resolved) return `<${String(resolved.Ref)}>`;
  if ("Fn::ImportValue" in resolved) return findingName(resolved["Fn::ImportValue"]);
  return JSON.stringify(resolved);
}

function joined(join: unknown): string {
  const [delimiter, parts]: unknown[] = Array.isArray(join) ? join : [];
  return Array.isArray(parts) ? parts.map(findingName).join(String(delimiter)) : "";
}
