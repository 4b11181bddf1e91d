/** Rows of a data file, some at a time, whatever its form and size. @module */
import { type FormatName, type PlacedRow, requireRows, rowsOf, valueReader, valuesOf } from "../rows.ts";
import { parquetParts } from "./parquet_records.ts";
import { type ReadingHooks, readText, textParts } from "./text_file.ts";
import type { PlacedValue } from "./value_reader.ts";

/** Whether a file's name says that it is of parquet. */
export function isParquet(file: string): boolean {
  return /\.parquet$/i.test(file);
}

/**
 * Understand the rows of a file, parquet included, as they are read; see parseRows for `format`. Throws DataError where
 * something is wrong, when it comes there, and where there are no rows.
 */
export async function* rowParts(
  file: string,
  format: FormatName | "auto",
  hooks: ReadingHooks = {},
): AsyncGenerator<readonly PlacedRow[]> {
  let length = 0;
  for await (const values of isParquet(file) ? parquetParts(file, hooks) : textValues(file, hooks)) {
    length += values.length;
    yield rowsOf(values, format);
  }
  requireRows({ length }, file);
}

/** All objects of a file, parquet included, not yet understood. Rejects with DataError. */
export async function valuesIn(file: string): Promise<PlacedValue[]> {
  return isParquet(file)
    ? (await Array.fromAsync(parquetParts(file))).flat()
    : valuesOf(readText(file), file);
}

async function* textValues(file: string, hooks: ReadingHooks): AsyncGenerator<PlacedValue[]> {
  const read = valueReader(file);
  for await (const part of textParts(file, hooks)) yield read(part, false);
  yield read("", true);
}
