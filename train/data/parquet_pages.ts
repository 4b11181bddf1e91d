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

/** A page and where it is. */
export interface Page extends PageClaim {
  /** First byte of its header, in the file. */
  readonly offset: number;
  /** Bytes of header and content as they are in the file. */
  readonly size: number;
  /** Whether it holds the values that other pages point at. */
  readonly dictionary: boolean;
}

/** Fields of PageHeader that matter, and the field of their number of values. */
const TYPE = 1, UNPACKED = 2, PACKED = 3, COUNTS: readonly number[] = [5, 7, 8], VALUES = 1;
/** The type of a page of a dictionary. */
const DICTIONARY = 2;

/** Bytes that are looked at for a header; where it is longer, more. */
const WINDOW = 2 ** 10;

/** Gives bytes of a file. */
export type Reads = (from: number, to: number) => Promise<Uint8Array>;

/**
 * The pages of the column that lies from byte `from` to `to`; `read` gives bytes of the file, and only headers are asked
 * for. Throws RangeError where they are not whole.
 */
export async function pagesOf(read: Reads, from: number, to: number): Promise<Page[]> {
  const pages: Page[] = [];
  for (let at = from; at < to;) {
    const { header, packed, ...claim } = await headerAt(read, at, to), size = header + packed;
    if (packed < 0 || claim.bytes < 0 || claim.values < 0 || at + size > to) {
      throw new RangeError("a page's header contradicts its column");
    }
    pages.push({ ...claim, offset: at, size });
    at += size;
  }
  return pages;
}

interface Header extends PageClaim {
  readonly dictionary: boolean;
  /** Bytes of the header, and of what follows it. */
  readonly header: number;
  readonly packed: number;
}

async function headerAt(read: Reads, at: number, to: number): Promise<Header> {
  for (let window = WINDOW;; window *= 16) {
    try {
      return headerIn(await read(at, Math.min(to, at + window)));
    } catch (error) {
      if (!(error instanceof CutShort) || at + window >= to) throw error;
    }
  }
}

/** The header that begins `bytes`. */
function headerIn(bytes: Uint8Array): Header {
  const header = new Thrift(bytes, 0);
  let type = -1, unpacked = 0, packed = -1, values = 0;
  header.fields((id, kind) => {
    if (id === TYPE) type = header.number();
    else if (id === UNPACKED) unpacked = header.number();
    else if (id === PACKED) packed = header.number();
    else if (COUNTS.includes(id) && kind === STRUCT) {
      header.fields((inner, what) => {
        if (inner === VALUES) values = header.number();
        else header.skip(what);
      });
    } else header.skip(kind);
  });
  return { bytes: unpacked, values, dictionary: type === DICTIONARY, header: header.at, packed };
}

/** The bytes end before what they begin. */
class CutShort extends RangeError {}

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
    if (byte === undefined) throw new CutShort("a page's header is cut short");
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
