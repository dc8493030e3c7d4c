// Whose step is next.

import { type Troupe, whole } from "./actors.ts";
import type { Company } from "./company.ts";
import { isPending } from "./stalls.ts";
import type { Process, Step } from "./stage.ts";

/** A step that is ready. Who ran last may run on; else each process has its weight, and of its steps one is drawn. */
export function choose({ stage, settings, random, promises }: Troupe, company: Company): Step | undefined {
  const waits = promises.log.tail.next - 1 > (promises.control?.checkpoint?.index ?? 0);
  const ghostWaits = company.stalls.claims.some(isPending);
  const cleanerIsDue = ghostWaits || settings.pins || company.stalls.unrecorded.some(isPending);
  const ownerWaits = company.stalls.forLife.length === 0 && promises.met["lives ended"] === 0;
  const ready: { readonly process: Process; readonly first: Step; readonly upTo: number }[] = [];
  let weights = 0;
  for (const process of stage.processes) {
    const first = process.pending.find(isReady);
    if (first === undefined) continue;
    weights += weightOf(process, first, { waits, ghostWaits, ownerWaits, cleanerIsDue, pins: settings.pins });
    ready.push({ process, first, upTo: weights });
  }
  if (ready.length === 0) return letGo(stage, company);
  const again = random.fraction() < settings.burst ? ready.find(({ process, first }) => process === company.last && first.method !== "turn") : undefined;
  const chance = random.fraction() * weights;
  const { process, first } = again ?? ready.find(({ upTo }) => chance < upTo) ?? ready[0];
  if (process.pending.length === 1) return first;
  const steps = process.pending.filter(isReady);
  return steps.length === 1 ? first : steps[whole(random, 0, steps.length - 1)];
}

/** Everybody waits: they go on, and claims last, as what comes of the others may make ghosts of them. */
function letGo(stage: Troupe["stage"], { stalls: { claims } }: Company): Step | undefined {
  const steps = stage.processes.flatMap(({ pending }) => pending);
  const others = steps.filter((step) => !claims.includes(step));
  for (const step of others.length > 0 ? others : steps) step.heldWhile = undefined;
  return others[0] ?? steps[0];
}

/**
 * Captures have the most steps to go; whoever looks for work again and again would take the turns of those who work. While a
 * claim is stalled, the work is what makes a ghost of it.
 */
function weightOf(
  { name }: Process,
  { method }: Step,
  { waits, ghostWaits, ownerWaits, cleanerIsDue, pins }: Readonly<Record<"waits" | "ghostWaits" | "ownerWaits" | "cleanerIsDue" | "pins", boolean>>,
): number {
  if (name === "owner") return method !== "turn" ? 2 : ownerWaits ? 0.01 : 0.2;
  const isCapture = name.startsWith("capture");
  if (method !== "turn") return isCapture ? 3 : 1;
  if (isCapture) return waits ? (ghostWaits || pins ? 2 : 0.5) : 0.05;
  if (name.startsWith("cleaner")) return cleanerIsDue ? 0.3 : 0.04;
  return name.startsWith("reader") ? 0.1 : 1;
}

function isReady(step: Step): boolean {
  if (step.heldWhile?.() === true) return false;
  step.heldWhile = undefined;
  return true;
}
