// Who may capture now. The lease keeps others from trying in vain; what fences is its epoch, which every write of its
// holder is conditional on (rules 12 and 14). So it may lapse at any time, and nothing but work is lost.

import type { Control } from "../model/control.ts";
import { LEASE_TTL_MS } from "../model/limits.ts";
import type { ShardId } from "../model/names.ts";
import type { Clock } from "../ports/clock.ts";
import { changeControl, type ControlDeps } from "./control.ts";
import { type Holder, releaseLease, renewLease, takeLease } from "./transitions.ts";

export interface LeaseDeps extends ControlDeps {
  readonly clock: Clock;
}

export interface Lease {
  readonly id: ShardId;
  readonly holder: Holder;
  /** The control item as the lease's own write left it: base and adoptable capture come from here alone (rule 12). */
  readonly control: Control;
  /** Renews the lease when a part of its time has passed; false once another holds it. */
  keep(): Promise<boolean>;
  /** Lets others try at once. */
  release(): Promise<void>;
}

/** `gone`: the shard has no control item. */
export type LeaseOutcome =
  | { readonly kind: "held"; readonly lease: Lease }
  | { readonly kind: "rejected"; readonly owner: string; readonly untilMs: number }
  | { readonly kind: "gone" };

const OWNER_DIGITS = 16;

/** @param ttlMs how long it lasts without being kept */
export async function acquireLease(deps: LeaseDeps, id: ShardId, ttlMs = LEASE_TTL_MS): Promise<LeaseOutcome> {
  const { clock } = deps;
  const owner = deps.random.id(OWNER_DIGITS);
  const taken = await changeControl(deps, { id, decide: (control) => takeLease(control, { owner, nowMs: clock.now(), ttlMs }) });
  if (taken.kind !== "written") return taken;
  return { kind: "held", lease: leaseOf(deps, id, taken.control, ttlMs) };
}

/** The lease that the control item shows, for who works under its epoch beside its holder: kept, but not released. */
export function joinLease(deps: LeaseDeps, id: ShardId, control: Control, ttlMs = LEASE_TTL_MS): Lease {
  return { ...leaseOf(deps, id, control, ttlMs), release: async () => undefined };
}

function leaseOf(deps: LeaseDeps, id: ShardId, control: Control, ttlMs: number): Lease {
  const { clock } = deps;
  const holder: Holder = { incarnation: control.incarnation, epoch: control.epoch };
  const renewAfterMs = ttlMs / 3;
  let renewAtMs = clock.now() + renewAfterMs;
  return {
    id,
    holder,
    control,
    async keep() {
      if (clock.now() < renewAtMs) return true;
      const renewed = await changeControl(deps, { id, decide: (now) => renewLease(now, holder, clock.now() + ttlMs) });
      renewAtMs = clock.now() + renewAfterMs;
      return renewed.kind === "written";
    },
    async release() {
      await changeControl(deps, { id, decide: (now) => releaseLease(now, holder, clock.now()) });
    },
  };
}
