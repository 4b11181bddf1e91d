/** Tables of rows in every form of a file, for properties. @module */
import * as fc from "fast-check";

const word = fc.constantFrom("Tom", " has", " 38", "é", "\u{1F600}", "\n", '"', ",", "\\", "##", "#### 7");
/** A text of a cell, with what files must quote. */
const text = fc.array(word, { maxLength: 12 }).map((words) => words.join(""));
const NAMES: readonly (readonly [string, string])[] = [["question", "answer"], ["prompt", "completion"]];
/** Rows of two columns. */
export const tables = fc.record({
  names: fc.constantFrom(...NAMES),
  rows: fc.array(fc.tuple(text, text), { minLength: 1, maxLength: 40 }),
});

/** A table in each form of a file, by the file's name. */
export function filesOf(names: readonly string[], rows: readonly (readonly string[])[]): Map<string, string> {
  const objects = rows.map((cells) => Object.fromEntries(names.map((n, i) => [n, cells[i]!])));
  const quoted = [names, ...rows].map((r) => r.map((c) => `"${c.replaceAll('"', '""')}"`).join(","));
  const plain = [names, ...rows].map((r) => r.map((c) => c.replace(/[\t\n\r]/g, " ")).join("\t"));
  return new Map([
    ["d.jsonl", objects.map((o) => JSON.stringify(o)).join("\n")],
    ["d.json", JSON.stringify(objects, null, 1)],
    ["d.data", `\uFEFF\n [${objects.map((o) => JSON.stringify(o)).join(" ,\n")}]\n`],
    ["d.csv", quoted.join("\r\n")],
    ["d.tsv", plain.join("\n")],
  ]);
}
