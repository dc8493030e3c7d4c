// CRC-32 of bytes that lie one behind the other, from the CRC-32 of each and their lengths alone: so what a store says of the
// bytes that it copied is compared with what is known of them, and none is read. The polynomial arithmetic of zlib's
// crc32_combine (Mark Adler).

/** Reflected, as zlib and S3 have it. */
const POLYNOMIAL = 0xedb8_8320;
/** x^0: the identity of the multiplication. */
const ONE = 0x8000_0000;

/** x to the power of 2^n, modulo the polynomial, by n. */
const POWERS = powersOfX();

/** The CRC-32 of `one` followed by `other`, of which the latter has `otherLength` bytes. */
export function crc32Combine(one: number, other: number, otherLength: number): number {
  return (shifted(one, otherLength) ^ other) >>> 0;
}

function shifted(crc: number, byteLength: number): number {
  let power = ONE;
  // Eight bits a byte: the lowest bit of the length stands for x^8 = x^(2^3).
  for (let length = byteLength, n = 3; length > 0; length = Math.floor(length / 2), n++) {
    if (length % 2 === 1) power = multiply(POWERS[n % POWERS.length], power);
  }
  return multiply(power, crc);
}

function multiply(a: number, b: number): number {
  let product = 0;
  let factor = b;
  for (let bit = ONE; bit !== 0; bit >>>= 1) {
    if ((a & bit) !== 0) product ^= factor;
    factor = (factor & 1) === 1 ? (factor >>> 1) ^ POLYNOMIAL : factor >>> 1;
  }
  return product >>> 0;
}

/** The powers repeat after 32. */
function powersOfX(): readonly number[] {
  const powers = [0x4000_0000];
  while (powers.length < 32) powers.push(multiply(powers[powers.length - 1], powers[powers.length - 1]));
  return powers;
}
