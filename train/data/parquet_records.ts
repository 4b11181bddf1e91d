/** Rows of a parquet file, by the names of its columns. @module */
import type { AsyncBuffer, FileMetaData, RowGroup } from "hyparquet";
import { DataError } from "../errors.ts";
import { type Page, pagesOf } from "./parquet_pages.ts";
import { openData, type ReadingHooks } from "./text_file.ts";
import type { PlacedValue } from "./value_reader.ts";

/** Most that pages may claim: times the file's size, which texts stay far below, and something for small files. */
const MOST_TIMES = 256, ALWAYS = 2 ** 24;

/** Most that is unpacked at once: bytes and rows, where columns can be cut, and bytes where a group must be read whole. */
const AT_ONCE = 2 ** 23, ROWS_AT_ONCE = 2 ** 13, GROUP_AT_ONCE = 2 ** 28;

/** {@linkcode parquetRecords} of a file; `most` bounds its size. Throws DataError. */
export async function* parquetParts(
  file: string,
  { read = () => {}, most = Infinity }: ReadingHooks = {},
): AsyncGenerator<PlacedValue[]> {
  using from = openData(file);
  const { size } = from.statSync();
  if (size > most) {
    throw new DataError(`${file}: has more than ${most} bytes; give --stream always.`, { file });
  }
  const slice = (start: number, end = size): ArrayBuffer => {
    if (!(start >= 0 && start <= end && end <= size)) throw new RangeError("bytes outside of the file");
    const bytes = new Uint8Array(end - start);
    // In one go: columns are asked for at the same time.
    from.seekSync(start, Deno.SeekMode.Start);
    for (let at = 0; at < bytes.length;) {
      const n = from.readSync(bytes.subarray(at));
      if (n === null) throw new RangeError("it became shorter while it was read");
      at += n;
    }
    return bytes.buffer;
  };
  yield* parquetRecords({ byteLength: size, slice }, file, read);
}

/**
 * Rows as objects, some at a time. Whole numbers become numbers, times texts; lists and structures are as in JSON. `read`
 * is told how far the rows are in the bytes. Throws DataError for a damaged file, and for one whose pages claim more than
 * a file of its size can hold.
 */
export async function* parquetRecords(
  bytes: AsyncBuffer,
  file: string,
  read: (bytes: number) => void = () => {},
): AsyncGenerator<PlacedValue[]> {
  const { parquetMetadataAsync, parquetReadObjects } = await import("hyparquet");
  const { compressors } = await import("hyparquet-compressors");
  /** The library trusts the file: whatever it throws is about it. */
  const blamed = async <T>(use: () => Promise<T>): Promise<T> => {
    try {
      return await use();
    } catch (error) {
      if (error instanceof DataError) throw error;
      const why = error instanceof Error ? error.message.split("\n")[0]! : String(error);
      throw new DataError(`${file}: not a whole parquet file (${why}); fetch or write it again.`, { file });
    }
  };
  const metadata = await blamed(() => parquetMetadataAsync(bytes));
  const groups = await blamed(() => pagesOfGroups(metadata, bytes));
  // Where pages are, so that only those of the rows that are asked for are read.
  const pageLocationsByGroup = groups.map(locationsOf);
  for (const [g, { from, rows, columns }] of groups.entries()) {
    const flat = columns.every((c) => c.flat);
    const unpacked = columns.reduce((n, c) => n + c.pages.reduce((k, page) => k + page.bytes, 0), 0);
    if (!flat && unpacked > GROUP_AT_ONCE) {
      throw new DataError(
        `${file}: row group ${
          g + 1
        } has ${unpacked} bytes of lists, which are read at once; write it in smaller ` +
          "groups (pyarrow: row_group_size=10000).",
        { file },
      );
    }
    const step = flat
      ? Math.max(1, Math.min(ROWS_AT_ONCE, Math.floor(rows * AT_ONCE / Math.max(1, unpacked))))
      : rows;
    for (let at = 0; at < rows; at += step) {
      const rowStart = from + at, rowEnd = from + Math.min(rows, at + step);
      const options = { file: bytes, metadata, compressors, rowStart, rowEnd, pageLocationsByGroup };
      const found = await blamed(() => parquetReadObjects(options));
      yield found.map((row, i) => ({ json: plain(row), where: `${file}: row ${rowStart + i + 1}` }));
      const end = Math.max(0, ...columns.flatMap((c) => c.pages.map((page) => page.offset + page.size)));
      read(end * (at + step) / rows);
    }
  }
}

/** The rows of a group and the pages of its columns. */
interface Group {
  /** Number of its first row, from 0. */
  readonly from: number;
  readonly rows: number;
  readonly columns: readonly {
    readonly name: string;
    /** Whether a value is a row. */
    readonly flat: boolean;
    readonly pages: readonly Page[];
  }[];
}

/** The pages of a file; refuses claims that no honest file of this size makes, before memory is taken for them. */
async function pagesOfGroups(
  { row_groups: groups, num_rows, schema }: FileMetaData,
  file: AsyncBuffer,
): Promise<Group[]> {
  const most = Math.max(ALWAYS, MOST_TIMES * file.byteLength);
  let size = 0, values = Number(num_rows), from = 0;
  const found: Group[] = [];
  for (const group of groups) {
    const columns = [];
    for (const { path, start, end } of columnsOf(group, file.byteLength)) {
      const pages = await pagesOf(async (a, b) => new Uint8Array(await file.slice(a, b)), start, end);
      for (const page of pages) {
        size += page.bytes;
        values += page.values;
      }
      if (size > most || values > most) {
        throw new RangeError(
          `its pages claim ${size} bytes and ${values} values, more than ${file.byteLength} bytes can hold`,
        );
      }
      const rows = Number(group.num_rows);
      const all = pages.reduce((n, page) => n + (page.dictionary ? 0 : page.values), 0);
      const flat = path.length === 1 &&
        schema.find((s) => s.name === path[0])?.repetition_type !== "REPEATED";
      if (flat ? all !== rows : all < rows) {
        throw new RangeError(`column ${path.join(".")} has ${all} values for ${rows} rows`);
      }
      columns.push({ name: path.join("."), flat, pages });
    }
    if (columns.length === 0) throw new RangeError("a group of rows without columns");
    found.push({ from, rows: Number(group.num_rows), columns });
    from += Number(group.num_rows);
  }
  return found;
}

/** Where the columns of a group lie. */
function columnsOf({ columns }: RowGroup, size: number) {
  return columns.map(({ meta_data: column }) => {
    if (!column) throw new RangeError("a column without a description");
    const starts = [column.dictionary_page_offset, column.data_page_offset]
      .flatMap((at) => at === undefined || Number(at) === 0 ? [] : [Number(at)]);
    const start = Math.min(...starts), end = start + Number(column.total_compressed_size);
    if (!(start >= 0 && start <= end && end <= size)) throw new RangeError("a column outside of the file");
    return { path: column.path_in_schema, start, end };
  });
}

/** Pages of values as hyparquet knows them from an offset index, by column; of lists it is not known which rows they hold. */
function locationsOf({ columns }: Group) {
  return Object.fromEntries(
    columns.filter((c) => c.flat).map(({ name, pages }) => {
      let row = 0;
      return [
        name,
        pages.filter((page) => !page.dictionary).map(({ offset, size, values }) => {
          const first_row_index = BigInt(row);
          row += values;
          return { offset: BigInt(offset), compressed_page_size: size, first_row_index };
        }),
      ];
    }),
  );
}

/** Values as JSON has them. */
function plain(value: unknown): unknown {
  if (typeof value === "bigint") return Number(value);
  if (value instanceof Date) return value.toISOString();
  if (ArrayBuffer.isView(value)) return [...value as unknown as Iterable<unknown>].map(plain);
  if (Array.isArray(value)) return value.map(plain);
  if (typeof value !== "object" || value === null) return value;
  return Object.fromEntries(Object.entries(value).map(([key, v]) => [key, plain(v)]));
}
