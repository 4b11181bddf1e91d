/** Rows of a parquet file, by the names of its columns. @module */
import type { FileMetaData } from "hyparquet";
import { DataError } from "../errors.ts";
import type { PlacedValue } from "./json_records.ts";
import { pageClaims } from "./parquet_pages.ts";

/** Most that pages may claim: times the file's size, which texts stay far below, and something for small files. */
const MOST_TIMES = 256, ALWAYS = 2 ** 24;

/**
 * Rows as objects. Whole numbers become numbers, times texts; lists and structures are as in JSON. Throws DataError for a
 * damaged file, and for one whose pages claim more than a file of its size can hold.
 */
export async function parquetRecords(bytes: Uint8Array<ArrayBuffer>, file: string): Promise<PlacedValue[]> {
  const { parquetMetadata, parquetReadObjects } = await import("hyparquet");
  const { compressors } = await import("hyparquet-compressors");
  let rows: Record<string, unknown>[];
  try {
    const metadata = parquetMetadata(bytes.buffer);
    requireModest(metadata, bytes);
    rows = await parquetReadObjects({ file: bytes.buffer, metadata, compressors });
  } catch (error) {
    // The library trusts the file: whatever it throws is about it.
    const why = error instanceof Error ? error.message.split("\n")[0]! : String(error);
    throw new DataError(`${file}: not a whole parquet file (${why}); fetch or write it again.`, { file });
  }
  return rows.map((row, i) => ({ json: plain(row), where: `${file}: row ${i + 1}` }));
}

/** Refuse claims that no honest file of this size makes, before memory is taken for them. */
function requireModest({ row_groups: groups, num_rows }: FileMetaData, bytes: Uint8Array): void {
  const most = Math.max(ALWAYS, MOST_TIMES * bytes.length);
  let size = 0, values = Number(num_rows);
  for (const { columns } of groups) {
    for (const { meta_data: column } of columns) {
      if (!column) throw new RangeError("a column without a description");
      const starts = [column.dictionary_page_offset, column.data_page_offset]
        .flatMap((at) => at === undefined || Number(at) === 0 ? [] : [Number(at)]);
      const from = Math.min(...starts), to = from + Number(column.total_compressed_size);
      if (!(from >= 0 && from <= to && to <= bytes.length)) {
        throw new RangeError("a column outside of the file");
      }
      for (const claim of pageClaims(bytes.subarray(from, to))) {
        size += claim.bytes;
        values += claim.values;
      }
      if (size > most || values > most) {
        throw new RangeError(
          `its pages claim ${size} bytes and ${values} values, more than ${bytes.length} bytes can hold`,
        );
      }
    }
  }
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
