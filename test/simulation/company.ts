// Who plays in a schedule: processes with the roles that its settings give them, and clients.

import type { Random } from "../../lib/ports/random.ts";
import { captures, cleaner, type Client, client, openWriterOf, type Troupe, whole } from "./actors.ts";
import { gatherer } from "./gatherers.ts";
import { broadClient, keeper, type Kept } from "./keepers.ts";
import { owner } from "./owner.ts";
import { reader } from "./readers.ts";
import { SKEW_MS_MAX } from "./rest.ts";
import { noStalls, type Stalls } from "./stalls.ts";
import type { Process } from "./stage.ts";

/** Who plays, and what the scheduler remembers of it. */
export interface Company {
  readonly roles: Map<Process, (process: Process) => void>;
  readonly clients: readonly Client[];
  last: Process | undefined;
  failure: Error | undefined;
  /** The object store takes no bytes for now. */
  full: boolean;
  /** Neither store answers for now. */
  away: boolean;
  readonly stalls: Stalls;
}

export function assemble(troupe: Troupe, kept: Kept): Company {
  const { stage, settings } = troupe;
  const clients: Client[] = [];
  const company: Company = { roles: new Map(), clients, last: undefined, failure: undefined, full: false, away: false, stalls: noStalls() };
  const guard = (work: Promise<void>): void => {
    work.catch((error: Error) => {
      company.failure ??= error;
    });
  };
  const enter = (name: string, role: (process: Process) => void): void => {
    const process = stage.process(name);
    process.skewMs = drawSkew(troupe.random);
    company.roles.set(process, role);
    role(process);
  };
  for (let i = 0; i < settings.writers; i++) {
    enter(`writer${i}`, (process) => troupe.writers.push(openWriterOf(troupe, process)));
  }
  for (let i = 0; i < settings.captures; i++) enter(`capture${i}`, (process) => guard(captures(troupe, process)));
  for (let i = 0; i < settings.cleaners; i++) enter(`cleaner${i}`, (process) => guard(cleaner(troupe, process)));
  for (let i = 0; i < settings.gatherers; i++) enter(`gatherer${i}`, (process) => guard(gatherer(troupe, process)));
  for (let i = 0; i < settings.keepers; i++) enter(`keeper${i}`, (process) => guard(keeper(troupe, process, kept)));
  const broad = broadClient(troupe, kept);
  if (settings.shards > 1) enter("broad", (process) => guard(broad(process)));
  for (let i = 0; i < settings.readers; i++) enter(`reader${i}`, (process) => guard(reader(troupe, process)));
  if (settings.deletes) enter("owner", (process) => guard(owner(troupe, process)));
  const names = [...Array.from({ length: settings.producers }, (_, i) => `p${i}`), ...Array.from({ length: settings.strangers }, () => undefined)];
  for (const producer of names) {
    // Clients are no part of the core: they do not die, and call no port.
    const process = stage.process(producer ?? "stranger");
    const each = client(troupe, process, producer);
    clients.push(each);
    guard(each.play());
  }
  return company;
}

/** Another process of that name goes on in its role. */
export function replace(troupe: Troupe, company: Company, dead: Process, role: (process: Process) => void): void {
  company.roles.delete(dead);
  const { writers } = troupe;
  const place = writers.findIndex(({ process }) => process === dead);
  if (place >= 0) writers.splice(place, 1);
  const process = troupe.stage.process(dead.name);
  process.skewMs = dead.skewMs;
  company.roles.set(process, role);
  role(process);
}

export function drawSkew(random: Random): number {
  const chance = random.fraction();
  // Where clocks are far apart, leases have run out for one that still run for the other.
  if (chance < 0.15) return chance < 0.075 ? -SKEW_MS_MAX : SKEW_MS_MAX;
  return chance < 0.85 ? 0 : whole(random, -SKEW_MS_MAX, SKEW_MS_MAX);
}
