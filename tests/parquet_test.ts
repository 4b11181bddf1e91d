/** Parquet files as pyarrow writes them (tests/fixtures/make_parquet.py), and what is wrong in others. @module */
import { assert, assertEquals, assertRejects, assertStringIncludes } from "@std/assert";
import { openDataset } from "../train/data.ts";
import { pagesOf } from "../train/data/parquet_pages.ts";
import { parquetRecords } from "../train/data/parquet_records.ts";
import { DataError } from "../train/errors.ts";
import { loadTokenizer } from "../train/tokenizer.ts";
import { inTempDir, root } from "./runs.ts";

const FIXTURES = `${root}/tests/fixtures/parquet`;
/** All rows of a file of these bytes. */
async function recordsIn(bytes: Uint8Array<ArrayBuffer>): Promise<unknown[]> {
  const all: unknown[] = [];
  for await (const part of parquetRecords(bytes.slice().buffer, "x.parquet")) all.push(...part);
  return all;
}

const tokenizer = loadTokenizer(`${root}/examples/base`);

for (const name of ["none", "snappy", "gzip", "zstd", "brotli", "lz4", "v2"]) {
  Deno.test(`parquet: rows packed with ${name} are those of the JSON lines with the same values`, () =>
    inTempDir(async (dir) => {
      const rows = Array.from(
        { length: 30 },
        (_, i) => ({ question: `What is ${i} + ${i}?`, answer: `${2 * i}` }),
      );
      Deno.writeTextFileSync(`${dir}/rows.jsonl`, rows.map((r) => JSON.stringify(r)).join("\n"));
      const plain = await openDataset(`${dir}/rows.jsonl`, tokenizer, 64);
      const read = await openDataset(`${FIXTURES}/${name}.parquet`, tokenizer, 64);
      const bare = ({ examples }: typeof read): unknown => examples.map(({ where: _, ...rest }) => rest);
      assertEquals(bare(read), bare(plain));
      assertEquals(read.examples[29]!.where, `${FIXTURES}/${name}.parquet: row 30`);
    }));
}

Deno.test("parquet: lists of structures are chats, whole numbers are labels", async () => {
  const chat = await openDataset(`${FIXTURES}/chat.parquet`, tokenizer, 64);
  assertEquals([chat.examples.length, chat.examples[4]!.prompt.includes("Say 4")], [5, true]);
  const labels = await openDataset(`${FIXTURES}/labels.parquet`, tokenizer, 64);
  assertEquals(labels.examples.map((e) => e.prompt), [
    "sentence: a fine day\nlabel:",
    "sentence: a bad day\nlabel:",
  ]);
});

Deno.test("parquet: a file cut anywhere is refused by name", async () => {
  const whole = Deno.readFileSync(`${FIXTURES}/snappy.parquet`);
  for (let length = 0; length < whole.length; length += 13) {
    const error = await assertRejects(() => recordsIn(whole.slice(0, length)), DataError);
    assertStringIncludes(error.message, "x.parquet: not a whole parquet file");
  }
});

Deno.test("parquet: a page that claims billions of values takes no memory for them", async () => {
  // Type, sizes, a header of data with 2³¹ − 1 values, in the compact protocol.
  const header = Uint8Array.of(0x15, 0, 0x15, 20, 0x15, 0, 0x2c, 0x15, 0xfe, 0xff, 0xff, 0xff, 0x0f, 0, 0);
  const pages = await pagesOf((from, to) => Promise.resolve(header.subarray(from, to)), 0, header.length);
  assertEquals(pages, [{
    bytes: 10,
    values: 2 ** 31 - 1,
    dictionary: false,
    offset: 0,
    size: header.length,
  }]);
  // The number of values of the first page, 20 in zigzag form, made a large one of as many bytes.
  const bytes = Deno.readFileSync(`${FIXTURES}/none.parquet`);
  const at = bytes.findIndex((b, i) => b === 0x2c && bytes[i + 1] === 0x15 && bytes[i + 2] === 40);
  assert(at > 0, "the first page has another header");
  const large = [0x2c, 0x15, 0xfe, 0xff, 0xff, 0xff, 0x0f];
  const claim = Uint8Array.from([...bytes.subarray(0, at), ...large, ...bytes.subarray(at + 3 + 4)]);
  const error = await assertRejects(() => recordsIn(claim), DataError);
  assertStringIncludes(error.message, "2147483697 values, more than 1819 bytes can hold");
});
