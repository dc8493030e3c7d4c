// What this folder holds in memory at most, and the largest things that it accepts.

import { assert } from "../../../model/assert.ts";

const KIB = 1024;
const MIB = 1024 * KIB;

/** The index is read in pieces of so many bytes. */
export const INDEX_CHUNK_BYTES = MIB;
/** Neighbouring blocks are read together up to so many bytes; two such reads are held at a time. */
export const READ_BYTES = 4 * MIB;
/** So many bytes that nobody wants are read along, where that saves a read. */
export const READ_GAP_BYTES = 64 * KIB;
/** A new file is handed out in pieces of about so many bytes. */
export const PIECE_BYTES = MIB;
/** InfluxDB writes 1,000 points a block, or 10,000 and rarely more where it compacts for the last time. */
export const BLOCK_POINTS_MAX = 1024 * 1024;
/** A thousand of the longest strings (64 KiB) have 64 MiB. */
export const BLOCK_BYTES_MAX = 128 * MIB;
/** A block's strings, unpacked. */
export const BLOCK_STRINGS_BYTES_MAX = 256 * MIB;

/** Of a tombstone file as stored. */
export const TOMBSTONE_BYTES_MAX = 64 * MIB;
/** Of a tombstone file unpacked: more than a million deletions of usual keys. */
export const TOMBSTONE_UNPACKED_BYTES_MAX = 256 * MIB;
/** Each DELETE appends one, until InfluxDB compacts the file. */
export const TOMBSTONE_MEMBERS_MAX = 100_000;

assert(READ_GAP_BYTES < READ_BYTES, "a gap is smaller than a read");
assert(BLOCK_POINTS_MAX >= 10_000, "a block of InfluxDB's fits");
