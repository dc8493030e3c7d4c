// The hash that the fold finds keys by.

/** MurmurHash3, 32 bits, seed 0 (Austin Appleby, public domain). No result depends on it. */
export function hashOf(bytes: Buffer, start: number, length: number): number {
  let hash = 0;
  let at = start;
  for (const end = start + length - 3; at < end; at += 4) {
    const block = bytes[at] | (bytes[at + 1] << 8) | (bytes[at + 2] << 16) | (bytes[at + 3] << 24);
    hash ^= scramble(block);
    hash = Math.imul((hash << 13) | (hash >>> 19), 5) + 0xe6546b64;
  }
  let tail = 0;
  for (let byte = start + length - 1; byte >= at; byte -= 1) tail = (tail << 8) | bytes[byte];
  hash ^= scramble(tail) ^ length;
  hash = Math.imul(hash ^ (hash >>> 16), 0x85ebca6b);
  hash = Math.imul(hash ^ (hash >>> 13), 0xc2b2ae35);
  return (hash ^ (hash >>> 16)) >>> 0;
}

function scramble(block: number): number {
  const mixed = Math.imul(block, 0xcc9e2d51);
  return Math.imul((mixed << 15) | (mixed >>> 17), 0x1b873593);
}
