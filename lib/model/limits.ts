// Every limit in one place, ours beside those of S3 and DynamoDB, with the relations between them asserted (I10).

import { assert } from "./assert.ts";

const KIB = 1024;
const MIB = 1024 * KIB;
const GIB = 1024 * MIB;

// S3
/** Of a part other than the last. A range is copied only of an object that is larger. */
export const S3_PART_BYTES_MIN = 5 * MIB;
export const S3_PART_BYTES_MAX = 5 * GIB;
export const S3_PARTS_MAX = 10_000;
/** A part that a server cannot copy by itself passes this process, and is held in memory whole: so much of it. */
export const COPY_BY_HAND_BYTES_MAX = 64 * MIB;
export const S3_DELETE_MANY_MAX = 1_000;
export const S3_LIST_PAGE_MAX = 1_000;
const S3_KEY_BYTES_MAX = 1_024;

// DynamoDB
export const DYNAMODB_ITEM_BYTES_MAX = 400 * KIB;
export const DYNAMODB_TRANSACTION_ITEMS_MAX = 100;
export const DYNAMODB_PAGE_ITEMS_MAX = 1_000;
/** Of all items of a transaction, those that it deletes among them. */
const DYNAMODB_TRANSACTION_BYTES_MAX = 4_000_000;
/** Items of any size that are deleted together. */
export const DELETES_TOGETHER = 9;

// Lambda
const LAMBDA_CALL_BYTES_MAX = 6 * MIB;

// Names
export const TABLE_NAME_LENGTH_MAX = 64;
export const SHARDS_MAX = 10_000;
export const PRODUCER_BYTES_MAX = 128;

// Mutations, batches, redo files
export const KEY_BYTES_MAX = 1_024;
export const VALUE_BYTES_MAX = 8 * MIB;
export const SEQUENCE_BITS = 192;
export const BATCH_MUTATIONS_MAX = 100_000;
/** Key and value bytes of one batch. */
export const BATCH_BYTES_MAX = 16 * MIB;
/** Group commit closes a redo file at these. A single batch always fits. */
export const REDO_FILE_BATCHES_MAX = 4_096;
export const REDO_FILE_BYTES_MAX = 24 * MIB;
/** Decoding holds 16 bytes for each mutation, beside its key and value. */
export const REDO_FILE_MUTATIONS_MAX = 1_000_000;

/** Body of one call that appends. Lambda counts a body as the text that its event holds, which may be base64, and its headers with it. */
export const INGEST_BODY_BYTES_MAX = 4 * MIB;

// Sessions: part of the format (rule 11). A shard remembers so many producers; the one idle the longest, by index, goes first.
export const SESSIONS_MAX = 16_384;

// Captures
export const PART_BYTES = 8 * MIB;
/** A part that the store copies by itself: several go side by side, and each takes less time than a store may be silent. */
export const COPY_PART_BYTES = 48 * MIB;
/**
 * Parts that a snapshot would have, did each have as few bytes as it may: those of a larger one have more. A log is at most twice
 * its base, so that even where none of it shrinks three times as many are enough.
 */
export const PARTS_EXPECTED_MAX = 3_000;
/** Parts of one capture that are sent at the same time. */
export const PARTS_TOGETHER = 2;
/** What a stored part notes of the capture's progress: more does not fit its item, and is done again by who goes on. */
export const PART_NOTE_BYTES_MAX = 256 * KIB;
/** A capture is cut into sections that are made side by side, each of so many bytes of its base, and at most so many. */
export const SECTION_BYTES = 1024 * MIB;
export const SECTIONS_MAX = 16;
/** After so many snapshots that carry row groups over, one encodes all of them. */
export const SPLICES_MAX = 100;
/** A row group that is carried over is read back within so many generations. */
export const CARRIED_MAX = 16;
export const LEASE_TTL_MS = 60_000;
/** A capture record whose holder left it so long ago, and that nobody went on with, is given up by cleanup. */
export const CAPTURE_ABANDONED_MS = 24 * 3_600_000;
/** Memory that the folded log may take at a time; a longer one is folded by key ranges, and read once for each. */
export const FOLD_BYTES_MAX = 32 * MIB;
/** Bytes of keys and values in the log that one capture takes at most, or twice the bytes of its base, if that is more. */
export const CAPTURE_LOG_BYTES_MAX = 512 * MIB;
export const CAPTURES_PER_RUN_MAX = 1_000;
/** Invocations that one asked-for capture may take, each going on where the one before was stopped. */
export const CAPTURE_TURNS_MAX = 1_000;
/**
 * A log below this makes no snapshot, whatever its share. A capture and its cleanup cost about 100 millionths of a dollar even
 * where next to nothing is written; so much log, in redo files of a thousand mutations, cost five times that to append, and a
 * recovery replays it in a second or two.
 */
export const CAPTURE_LOG_BYTES_MIN = 8 * MIB;
/** The interval of a shard is up to so much shorter than its table's, each its own: else those that were written together would be captured together. */
export const CAPTURE_JITTER_PERCENT = 10;
/** What took less, and was expected to, measures nothing. */
export const MEASURED_MS_MIN = 1_000;
/** Shards that one task of a cleanup pass looks at. */
export const CLEANUP_TASK_SHARDS_MAX = 100;
/** A capture that was asked for and did not come is asked for again after this: its message may be lost, or its worker killed. */
export const ASK_AGAIN_AFTER_MS = 15 * 60_000;
/** Tail items that the planner reads at a time. */
export const PLAN_READS_TOGETHER = 25;
/** Captures that it asks for in one message to the queue, and such messages at a time. What it holds of shards is bounded by these. */
export const ASK_TOGETHER = 10;
export const ASKS_AT_ONCE = 8;
/** How long the outcome of a request can be asked for. */
export const REQUEST_KEPT_MS = 7 * 24 * 3_600_000;

// Sources
/** Who gathers a source's generation holds it so long, and renews that while it works. */
export const GATHERING_TTL_MS = 5 * 60_000;
/** Invocations that one backup may take, each going on at the shard where the one before was stopped. */
export const BACKUP_TURNS_MAX = 100;

// Retention: two verified generations can always recover the head (I6).
export const KEEP_SNAPSHOTS_MIN = 2;
/** Generations that a backup keeps, where its table says nothing else. */
export const KEEP_GENERATIONS = 30;

// Retries and pages: every loop ends.
export const CONTROL_ATTEMPTS_MAX = 20;
export const APPEND_ATTEMPTS_MAX = 50;
export const PUT_ATTEMPTS_MAX = 3;
export const RECOVER_ATTEMPTS_MAX = 10;
export const WALK_FILES_MAX = 10_000_000;
export const PAGES_MAX = 100_000;
export const PIN_TTL_MS = 15 * 60_000;

const MUTATION_TEXT_BYTES_MIN = `{"k":"k","v":0}`.length;

assert(KEY_BYTES_MAX + VALUE_BYTES_MAX <= BATCH_BYTES_MAX, "the largest mutation fits a batch");
assert(BATCH_BYTES_MAX <= REDO_FILE_BYTES_MAX && BATCH_MUTATIONS_MAX <= REDO_FILE_MUTATIONS_MAX, "the largest batch fits a redo file");
assert((INGEST_BODY_BYTES_MAX * 4) / 3 + 64 * KIB <= LAMBDA_CALL_BYTES_MAX, "a body and its headers fit a call of Lambda");
assert(
  LAMBDA_CALL_BYTES_MAX <= REDO_FILE_BYTES_MAX && LAMBDA_CALL_BYTES_MAX / MUTATION_TEXT_BYTES_MIN <= REDO_FILE_MUTATIONS_MAX,
  "what one call brings fits one redo file",
);
assert(REDO_FILE_BYTES_MAX <= FOLD_BYTES_MAX, "one redo file fits the memory of a capture");
assert(COPY_PART_BYTES + S3_PART_BYTES_MIN <= COPY_BY_HAND_BYTES_MAX, "a part that is copied can be sent where a server cannot copy");
assert(3 * PARTS_EXPECTED_MAX < S3_PARTS_MAX, "a snapshot has no more parts than S3 takes");
assert(DELETES_TOGETHER * DYNAMODB_ITEM_BYTES_MAX <= DYNAMODB_TRANSACTION_BYTES_MAX, "what is deleted together fits a transaction");
assert(PART_NOTE_BYTES_MAX < DYNAMODB_ITEM_BYTES_MAX, "a part's note fits its item");
assert(PART_BYTES >= S3_PART_BYTES_MIN && PART_BYTES <= S3_PART_BYTES_MAX, "a part has a size that S3 takes");
assert(COPY_BY_HAND_BYTES_MAX >= PART_BYTES && COPY_BY_HAND_BYTES_MAX <= S3_PART_BYTES_MAX, "what S3 does not copy is sent as a part like others");
assert(TABLE_NAME_LENGTH_MAX + 200 <= S3_KEY_BYTES_MAX, "an object's key fits S3");
assert(KEEP_SNAPSHOTS_MIN >= 2, "a damaged newest snapshot can be passed over");
