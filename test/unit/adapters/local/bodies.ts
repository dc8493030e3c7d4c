/** A body that tells by itself which key it belongs to and whether it is whole. */
export function bodyOfKey(key: string, length: number): Buffer {
  return Buffer.alloc(length, `${key}|`);
}
