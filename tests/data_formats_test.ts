/** Files of rows: JSON lines, arrays, CSV, TSV and gzip tell the same; formats are recognised; what is broken is named. @module */
import { assert, assertEquals, assertStringIncludes, assertThrows } from "@std/assert";
import * as fc from "fast-check";
import { gzipSync } from "node:zlib";
import { readText } from "../train/data/text_file.ts";
import { DataError } from "../train/errors.ts";
import { FORMAT_NAMES, type FormatName, parseRow, parseRows, type Row } from "../train/rows.ts";

const dir = Deno.makeTempDirSync();
globalThis.addEventListener("unload", () => Deno.removeSync(dir, { recursive: true }));

/** The rows of a file that holds `content`. */
function rowsOf(name: string, content: string | Uint8Array): Row[] {
  const file = `${dir}/${name}`;
  Deno.writeFileSync(file, typeof content === "string" ? new TextEncoder().encode(content) : content);
  return parseRows(readText(file), file).map((r) => r.row);
}

/** A cell of CSV; in quotation marks where it must be, or `always`. */
function csvCell(text: string, always: boolean): string {
  return always || text === "" || /[",\r\n]/.test(text) ? `"${text.replaceAll('"', '""')}"` : text;
}

function csv(table: readonly (readonly string[])[], always: boolean, end: string): string {
  return table.map((cells) => cells.map((c) => csvCell(c, always)).join(",")).join(end) + end;
}

const text = fc.string({ unit: "binary" }).filter((s) => s.isWellFormed());
const columns = fc.constantFrom(["prompt", "completion"], ["question", "answer"], ["text"]);
const tables = columns.chain((names) =>
  fc.record({
    names: fc.constant(names),
    rows: fc.array(fc.tuple(...names.map(() => text)), { minLength: 1, maxLength: 6 }),
  })
);

Deno.test("files: a table written as JSON lines, array, CSV, and each by gzip, reads the same", () => {
  fc.assert(
    fc.property(
      tables,
      fc.boolean(),
      fc.constantFrom("\n", "\r\n"),
      fc.constantFrom(0, 1, "\t"),
      ({ names, rows }, always, end, indent) => {
        const objects = rows.map((cells) => Object.fromEntries(names.map((n, i) => [n, cells[i]!])));
        const expected = objects.map((o) => parseRow(o, "row"));
        const written = {
          "d.jsonl": objects.map((o) => JSON.stringify(o)).join(end),
          "d.json": JSON.stringify(objects, null, indent),
          "d.data": `\uFEFF ${JSON.stringify(objects)}\n`,
          "d.csv": csv([names, ...rows], always, end),
        };
        for (const [name, content] of Object.entries(written)) {
          assertEquals(rowsOf(name, content), expected, name);
          assertEquals(rowsOf(`${name}.gz`, gzipSync(content)), expected, `${name}.gz`);
        }
      },
    ),
    { numRuns: 60 },
  );
});

Deno.test("files: cells of TSV are taken as they are, quotation marks too", () => {
  const cell = text.filter((s) => !/[\t\r\n]/.test(s));
  fc.assert(fc.property(fc.array(fc.tuple(cell, cell), { minLength: 1, maxLength: 6 }), (rows) => {
    const content = [["prompt", "completion"], ...rows].map((r) => r.join("\t")).join("\n");
    assertEquals(
      rowsOf("d.tsv", content),
      rows.map(([prompt, completion]) => ({ kind: "prompt", prompt, completion })),
    );
  }));
});

Deno.test("files: members of gzip follow each other; what is not whole is refused", () => {
  const parts = ['{"text":"a"}\n', '{"text":"b"}\n'].map((t) => gzipSync(t));
  const whole = new Uint8Array(parts.flatMap((p) => [...p]));
  assertEquals(rowsOf("two.jsonl.gz", whole), [{ kind: "text", text: "a" }, { kind: "text", text: "b" }]);
  const flipped = Uint8Array.from(parts[0]!);
  flipped[flipped.length - 6]! ^= 1;
  for (const bytes of [parts[0]!.subarray(0, 12), flipped]) {
    const error = assertThrows(() => rowsOf("cut.jsonl.gz", bytes), DataError);
    assertStringIncludes(error.message, "cut.jsonl.gz: not a whole gzip file");
  }
});

Deno.test("files: what is not UTF-8 is named with its line", () => {
  const bytes = new Uint8Array([...new TextEncoder().encode('{"text":"a"}\n{"text":"'), 0xe9, 0x22, 0x7d]);
  const error = assertThrows(() => rowsOf("latin.jsonl", bytes), DataError);
  assertStringIncludes(error.message, "latin.jsonl:2: not UTF-8");
});

const BROKEN: readonly (readonly [name: string, text: string, says: string])[] = [
  ["d.json", "[]", "d.json: has no rows"],
  ["d.json", '[{"text":"a"},\n{"text":}\n]', "d.json:2 (item 2): not JSON"],
  ["d.json", '[{"text":"a"},\n]', "d.json:2 (item 2): not JSON"],
  ["d.json", '[\n{"text":"a"}, {"text":"b"', "d.json:2 (item 2): the array has no end"],
  ["d.json", '[{"text":"a"}]\n\nx', "d.json:3: text after the end of the array"],
  ["d.json", '[\n{"text":"a"},\n\n{"texts":"b"}]', 'd.json:4 (item 2): the row\'s keys are {"texts"}'],
  ["d.json", '{\n"text": "a"\n}', "d.json:1: not JSON"],
  ["d.csv", "text,text\na,b", 'd.csv:1: column 2 has the name "text" of another'],
  ["d.csv", "text,\na,b", "d.csv:1: column 2 has no name"],
  ["d.csv", "text\n", "d.csv: has no rows"],
  ["d.csv", "prompt,completion\na", "d.csv:2: has 1 cells; the first line names 2 columns"],
  [
    "d.csv",
    'prompt,completion\n"a\nb",c\nd,"e',
    "d.csv:4: cell 2 begins with a quotation mark that is never",
  ],
  ["d.csv", 'text\n"a"b', "d.csv:2: cell 1 goes on after its closing quotation mark"],
  ["d.csv", 'text\na "b"', "d.csv:2: cell 1 has a quotation mark inside"],
  ["d.csv", "sentence,label\na,", 'd.csv:2: label is ""; expected a label'],
  ["d.tsv", "gj04\t1\t\tThe sailors", "d.tsv:1: column 3 has no name"],
  ["d.tsv", "sentence\tlabel\na\tb\n\nc\td\te", "d.tsv:4: has 3 cells"],
  ["d.tsv", "sentence\tmood\na\tb", `d.tsv:2: the row's keys are {"sentence", "mood"}; expected one of`],
  ["d.json", '[{"conversations":[{"from":"human"}]}]', `expected a list of {"from", "value"} of texts`],
];

for (const [name, content, says] of BROKEN) {
  Deno.test(`files: ${name} of ${JSON.stringify(content)} is refused`, () => {
    const error = assertThrows(() => parseRows(content, name), DataError);
    assertStringIncludes(error.message, says);
    assert(!/[\r\n]/.test(error.message));
  });
}

Deno.test("files: whatever a file holds, the outcome is rows or an error of one line that names the file", () => {
  const pieces = fc.constantFrom(
    ...["[", "]", "{", "}", '"', ",", "\n", "\r\n", "\t", ":", "\\", "text", '{"text":"a"}', '"label"', "\0"],
  );
  const names = fc.constantFrom("d.json", "d.jsonl", "d.csv", "d.tsv");
  fc.assert(
    fc.property(fc.array(pieces, { maxLength: 24 }), names, (parts, name) => {
      try {
        assert(parseRows(parts.join(""), name).length > 0);
      } catch (error) {
        assert(error instanceof DataError, String(error));
        assert(error.message.startsWith(name) && !/[\r\n]/.test(error.message), error.message);
      }
    }),
    { numRuns: 3000 },
  );
});

const READ: readonly (readonly [format: FormatName, row: unknown, expected: Row])[] = [
  [
    "alpaca",
    { instruction: "Add.", input: "1 2", output: "3" },
    {
      kind: "prompt",
      prompt: "### Instruction:\nAdd.\n\n### Input:\n1 2\n\n### Response:\n",
      completion: "3",
    },
  ],
  [
    "alpaca",
    { instruction: "Say hi.", output: "hi" },
    { kind: "prompt", prompt: "### Instruction:\nSay hi.\n\n### Response:\n", completion: "hi" },
  ],
  [
    "sharegpt",
    {
      id: "7",
      system: "Be kind.",
      conversations: [{ from: "human", value: "a" }, { from: "gpt", value: "b" }],
    },
    {
      kind: "chat",
      messages: [
        { role: "system", content: "Be kind." },
        { role: "user", content: "a" },
        { role: "assistant", content: "b" },
      ],
    },
  ],
  [
    "classify",
    { sentence: "it 's good . ", label: 1 },
    { kind: "prompt", prompt: "sentence: it 's good .\nlabel:", completion: " 1" },
  ],
  [
    "classify",
    { index: "0", sentence1: "a", sentence2: "b", label: "not_entailment" },
    { kind: "prompt", prompt: "sentence1: a\nsentence2: b\nlabel:", completion: " not_entailment" },
  ],
  [
    "classify",
    { text: "a", label: false },
    { kind: "prompt", prompt: "text: a\nlabel:", completion: " false" },
  ],
];

Deno.test("formats: rows are recognised by their fields, and the same when the format is given", () => {
  for (const [format, row, expected] of READ) {
    assertEquals(parseRow(row, "d:1"), expected);
    assertEquals(parseRow(row, "d:1", format), expected);
    const more = { ...row as object, note: "x" };
    assertThrows(() => parseRow(more, "d:1"), DataError, `remove "note", or give --format ${format}`);
    assertEquals(parseRow(more, "d:1", format), expected);
  }
});

Deno.test("formats: a given format tells what it needs and what the row has", () => {
  for (const format of FORMAT_NAMES) {
    const error = assertThrows(() => parseRow({ title: "a", body: "b" }, "d.json:1", format), DataError);
    assertStringIncludes(
      error.message,
      `d.json:1: the row's keys are {"title", "body"}; --format ${format} needs {"`,
    );
  }
  assertEquals(parseRow({ text: "a", label: 1 }, "d:1", "text"), { kind: "text", text: "a" });
});
