// The queues, each with its dead letters. A message that was received comes back only when whoever received it can no
// longer be at work on it, and after some receives it is set aside instead of going round for ever (I10).

import { Duration, RemovalPolicy } from "aws-cdk-lib";
import type { IKey } from "aws-cdk-lib/aws-kms";
import { DeduplicationScope, FifoThroughputLimit, Queue, QueueEncryption, type QueueProps } from "aws-cdk-lib/aws-sqs";
import type { Construct } from "constructs";
import { LEASE_TTL_MS } from "../lib/model/limits.ts";
import { acknowledge } from "./acknowledgements.ts";

/** Receives of a message before it is set aside. */
const RECEIVES_MAX = 5;

const RETENTION = Duration.days(14);
/** What AWS asks for between a queue and its function, so that throttled receives do not use up the message. */
const TIMEOUTS_PER_VISIBILITY = 6;
const LEASE_MARGIN_SECONDS = 10;

export interface QueueWithDeadLetters {
  readonly queue: Queue;
  readonly deadLetters: Queue;
  /** How long a message that fails each time is tried, until it is set aside. */
  readonly triedFor: Duration;
}

/** A standard queue, one message a shard, whose consumer holds a lease of so long. `id` is a word, as in `Snapshot`. */
export function shardQueue(
  scope: Construct,
  id: string,
  { consumerTimeout, leaseMs = LEASE_TTL_MS }: { readonly consumerTimeout: Duration; readonly leaseMs?: number },
): QueueWithDeadLetters {
  return withDeadLetters(scope, id, { ...SETTINGS, encryption: QueueEncryption.SQS_MANAGED }, visibility(consumerTimeout, leaseMs));
}

/**
 * A FIFO queue, the shard as message group. SQS must not take equal bodies for one message: a key set to 1, to 2 and to 1
 * again is three batches. So each message brings its own deduplication id.
 */
export function mutationQueue(
  scope: Construct,
  id: string,
  { consumerTimeout, encryptionKey }: { readonly consumerTimeout: Duration; readonly encryptionKey: IKey | undefined },
): QueueWithDeadLetters {
  const encryption = encryptionKey ? { encryption: QueueEncryption.KMS, encryptionMasterKey: encryptionKey } : { encryption: QueueEncryption.SQS_MANAGED };
  const fifo = {
    fifo: true,
    contentBasedDeduplication: false,
    deduplicationScope: DeduplicationScope.MESSAGE_GROUP,
    fifoThroughputLimit: FifoThroughputLimit.PER_MESSAGE_GROUP_ID,
  };
  return withDeadLetters(scope, id, { ...SETTINGS, ...encryption, ...fifo }, visibility(consumerTimeout));
}

/** Where a stream's records go that could not be handled. */
export function deadLetterQueue(scope: Construct, id: string): Queue {
  const queue = new Queue(scope, id, { ...SETTINGS, encryption: QueueEncryption.SQS_MANAGED });
  acknowledge(queue, { rule: "SQS3", reason: "It is the dead-letter queue itself, of a stream: no other queue names it." });
  return queue;
}

/** For a consumer that sets a message aside itself, with the reason. */
export function deadLetterEnvironment({ deadLetters }: QueueWithDeadLetters): Readonly<Record<string, string>> {
  return { TIDEMARK_DEAD_LETTER_QUEUE: deadLetters.queueUrl, TIDEMARK_RECEIVES_MAX: String(RECEIVES_MAX) };
}

const SETTINGS: QueueProps = { enforceSSL: true, retentionPeriod: RETENTION, removalPolicy: RemovalPolicy.DESTROY };

function withDeadLetters(scope: Construct, id: string, props: QueueProps, visibilityTimeout: Duration): QueueWithDeadLetters {
  const deadLetters = new Queue(scope, `${id}DeadLetterQueue`, props);
  const queue = new Queue(scope, `${id}Queue`, { ...props, visibilityTimeout, deadLetterQueue: { queue: deadLetters, maxReceiveCount: RECEIVES_MAX } });
  return { queue, deadLetters, triedFor: Duration.seconds(RECEIVES_MAX * visibilityTimeout.toSeconds()) };
}

/** Work that was killed at its timeout has renewed its lease until then: a delivery before that lapses is rejected and wasted. */
function visibility(consumerTimeout: Duration, leaseMs = LEASE_TTL_MS): Duration {
  const timeoutSeconds = consumerTimeout.toSeconds();
  const leaseSeconds = leaseMs / 1_000;
  return Duration.seconds(Math.max(TIMEOUTS_PER_VISIBILITY * timeoutSeconds, timeoutSeconds + leaseSeconds + LEASE_MARGIN_SECONDS));
}
