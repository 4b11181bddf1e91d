/**
 * Pages of a column of a parquet file, looked through before they are read: their headers claim sizes and counts. Facts:
 * parquet-format's PageHeader, in Thrift's compact protocol. @module
 */

/** What the header of a page claims. */
export interface PageClaim {
  /** Bytes once unpacked. */
  readonly bytes: number;
  readonly values: number;
}

/** Fields of PageHeader that matter, and the field of their number of values. */
const UNPACKED = 2, PACKED = 3, COUNTS: readonly number[] = [5, 7, 8], VALUES = 1;

/** The pages in `bytes`, which are those of one column. Throws RangeError where they are not whole. */
export function pageClaims(bytes: Uint8Array): PageClaim[] {
  const pages: PageClaim[] = [];
  for (let at = 0; at < bytes.length;) {
    const header = new Thrift(bytes, at);
    const claim = { bytes: 0, packed: -1, values: 0 };
    header.fields((id, type) => {
      if (id === UNPACKED) claim.bytes = header.number();
      else if (id === PACKED) claim.packed = header.number();
      else if (COUNTS.includes(id) && type === STRUCT) {
        header.fields((inner, kind) => {
          if (inner === VALUES) claim.values = header.number();
          else header.skip(kind);
        });
      } else header.skip(type);
    });
    at = header.at + claim.packed;
    if (claim.packed < 0 || claim.bytes < 0 || claim.values < 0 || at > bytes.length) {
      throw new RangeError("a page's header contradicts its column");
    }
    pages.push({ bytes: claim.bytes, values: claim.values });
  }
  return pages;
}

/** Types of the compact protocol. */
const TRUE = 1,
  FALSE = 2,
  BYTE = 3,
  I64 = 6,
  DOUBLE = 7,
  BINARY = 8,
  LIST = 9,
  SET = 10,
  MAP = 11,
  STRUCT = 12;
/** Structures inside each other. */
const DEEPEST = 16;

/** A reader of Thrift's compact protocol. Throws RangeError where the bytes end. */
class Thrift {
  #depth = 0;

  constructor(readonly bytes: Uint8Array, public at: number) {}

  /** Call `read` for each field of a structure; it must read the value or skip it. */
  fields(read: (id: number, type: number) => void): void {
    if (++this.#depth > DEEPEST) throw new RangeError("a page's header is nested too deep");
    for (let id = 0;;) {
      const head = this.#byte(), type = head & 15;
      if (head === 0) break;
      id = head >> 4 === 0 ? this.number() : id + (head >> 4);
      read(id, type);
    }
    this.#depth--;
  }

  /** A whole number in zigzag form. */
  number(): number {
    const n = this.#varint();
    return n % 2 === 0 ? n / 2 : -(n + 1) / 2;
  }

  skip(type: number): void {
    if (type === TRUE || type === FALSE) return;
    if (type === BYTE) this.at++;
    else if (type > BYTE && type <= I64) this.#varint();
    else if (type === DOUBLE) this.at += 8;
    else if (type === BINARY) {
      const length = this.#varint();
      this.at += length;
    } else if (type === STRUCT) this.fields((_, inner) => this.skip(inner));
    else if (type === LIST || type === SET) {
      const head = this.#byte(), count = head >> 4 === 15 ? this.#varint() : head >> 4;
      for (let i = 0; i < count; i++) this.#element(head & 15);
    } else if (type === MAP) {
      const count = this.#varint(), kinds = count === 0 ? 0 : this.#byte();
      for (let i = 0; i < count; i++) {
        this.#element(kinds >> 4);
        this.#element(kinds & 15);
      }
    } else throw new RangeError(`a page's header has a field of type ${type}`);
  }

  /** Inside lists a truth value takes a byte. */
  #element(type: number): void {
    if (type === TRUE || type === FALSE) this.#byte();
    else this.skip(type);
  }

  #byte(): number {
    const byte = this.bytes[this.at++];
    if (byte === undefined) throw new RangeError("a page's header is cut short");
    return byte;
  }

  #varint(): number {
    let n = 0;
    for (let scale = 1; scale < 2 ** 56; scale *= 128) {
      const byte = this.#byte();
      n += (byte & 127) * scale;
      if (byte < 128) return n;
    }
    throw new RangeError("a number of a page's header has no end");
  }
}
