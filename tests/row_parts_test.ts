/** Rows and texts that come in parts: what they are does not depend on where parts end. @module */
import { assert, assertEquals, assertRejects, assertStringIncludes } from "@std/assert";
import * as fc from "fast-check";
import { gzipSync } from "node:zlib";
import { textParts } from "../train/data/text_file.ts";
import { DataError } from "../train/errors.ts";
import { parseRows, valueReader } from "../train/rows.ts";
import { inTempDir } from "./runs.ts";
import { filesOf, tables } from "./row_tables.ts";

Deno.test("rows in parts: where the parts end makes no difference, to rows and to errors", () => {
  const broken = fc.constantFrom('{"text":1}', "x", '{"text":"a"', '"', "[", '{"text":"a"}{}');
  const contents = fc.oneof(
    tables.map(({ names, rows }) => [...filesOf(names, rows)]),
    tables.chain(({ names, rows }) =>
      broken.map((bad) => [...filesOf(names, rows)].map(([n, c]) => [n, `${c}\n${bad}\n${c}`] as const))
    ),
  );
  fc.assert(
    fc.property(contents, fc.array(fc.integer({ min: 1, max: 40 }), { minLength: 1 }), (files, sizes) => {
      for (const [name, content] of files) {
        const outcome = (read: () => unknown): unknown => {
          try {
            return read();
          } catch (error) {
            if (error instanceof DataError) return error.message;
            throw error;
          }
        };
        const whole = outcome(() => valueReader(name)(content, true));
        const inParts = outcome(() => {
          const read = valueReader(name), values: unknown[] = [];
          for (let at = 0, i = 0; at < content.length; i++) {
            const end = at + sizes[i % sizes.length]!;
            values.push(...read(content.slice(at, end), false));
            at = end;
          }
          return [...values, ...read("", true)];
        });
        assertEquals(inParts, whole, name);
      }
    }),
    { numRuns: 300 },
  );
});

Deno.test("texts in parts: characters of several bytes over the ends of parts, and bytes that are none", () =>
  inTempDir(async (dir) => {
    const file = `${dir}/d.jsonl`;
    const content = `\uFEFFa${"é\n–\u{1F600}".repeat(300_000)}`, bytes = new TextEncoder().encode(content);
    for (const packed of [bytes, gzipSync(bytes)]) {
      Deno.writeFileSync(file, packed);
      let found = "", read = 0;
      for await (const part of textParts(file, { read: (n) => read = n })) found += part;
      assert(found === content.slice(1) && read === packed.length);
    }
    // Cut in its last character; a byte of 2 MiB that is none.
    const cut = bytes.subarray(0, bytes.length - 1), wrong = bytes.slice();
    const at = wrong.indexOf(0x0a, 2 ** 21) + 1;
    wrong[at] = 0xff;
    const line = new TextDecoder().decode(wrong.subarray(0, at)).split("\n").length;
    for (const [bad, number] of [[cut, 300_001], [wrong, line]] as const) {
      Deno.writeFileSync(file, bad);
      const error = await assertRejects(async () => {
        for await (const _ of textParts(file));
      }, DataError);
      assertStringIncludes(error.message, `d.jsonl:${number}: not UTF-8`);
    }
  }));

Deno.test("rows in parts: a byte order mark, and files of nothing", () => {
  assertEquals(parseRows('\uFEFF{"text":"a"}', "d.jsonl").length, 1);
  for (const name of ["d.json", "d.jsonl", "d.csv", "d.tsv"]) assertEquals(valueReader(name)("", true), []);
});
