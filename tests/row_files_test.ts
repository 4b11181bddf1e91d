/** Several files of rows at once, and rows held out of the data. @module */
import {
  assert,
  assertEquals,
  assertMatch,
  assertRejects,
  assertStringIncludes,
  assertThrows,
} from "@std/assert";
import * as fc from "fast-check";
import { gzipSync } from "node:zlib";
import { firstExamples, longestAsked } from "../train/data/examples.ts";
import { heldShare, holdOut, pickExamples } from "../train/data/hold_out.ts";
import { openRows } from "../train/data/open_rows.ts";
import { rowFiles } from "../train/data/row_files.ts";
import { DataError, UserError } from "../train/errors.ts";
import { loadTokenizer } from "../train/tokenizer.ts";
import { fineTuned, inTempDir, root } from "./runs.ts";

const tokenizer = loadTokenizer(`${root}/examples/base`);

function open(names: string, cache: string | null) {
  return openRows(names, tokenizer, {
    ...{ seq: 64, format: "auto", dryRun: false, tokenCache: cache },
    stream: cache === null ? "never" : "always",
  }, { say: () => {} });
}

/** Files of questions whose numbers go on from one to the next. */
function shards(dir: string): string[] {
  const rows = Array.from(
    { length: 12 },
    (_, i) => ({ question: `Tom has ${i} balls.`, answer: `#### ${i}` }),
  );
  const lines = (from: number, to: number): string =>
    rows.slice(from, to).map((row) => JSON.stringify(row)).join("\n");
  Deno.mkdirSync(`${dir}/part-b`);
  const files = ["rows-0.jsonl", "rows-1.jsonl.gz", "part-b/rows-2.json", "rows,3.csv"].map((n) =>
    `${dir}/${n}`
  );
  Deno.writeTextFileSync(files[0]!, lines(0, 4));
  Deno.writeFileSync(files[1]!, gzipSync(lines(4, 7)));
  Deno.writeTextFileSync(files[2]!, JSON.stringify(rows.slice(7, 9)));
  Deno.writeTextFileSync(
    files[3]!,
    ["question,answer", ...rows.slice(9).map((r) => `${r.question},${r.answer}`)].join("\n"),
  );
  return files;
}

Deno.test("files of rows: lists, patterns, and names that are there as they are", () =>
  inTempDir((dir) => {
    const [a, b, c, d] = shards(dir) as [string, string, string, string];
    Deno.writeTextFileSync(`${dir}/.rows-hidden.jsonl`, "");
    const cases: readonly (readonly [names: string, files: readonly string[]])[] = [
      [a, [a]],
      [`${b}, ${a}`, [b, a]],
      [d, [d]],
      [`${dir}/rows-*`, [a, b]],
      [`${dir}/rows-?.jsonl`, [a]],
      [`${dir}/*/rows-*.json,${a}`, [c, a]],
      [`${dir}/p*b/*`, [c]],
      [`${dir}/missing.jsonl`, [`${dir}/missing.jsonl`]],
    ];
    for (const [names, files] of cases) assertEquals(rowFiles(names), files, names);
    const bad: readonly (readonly [names: string, says: string])[] = [
      [`${dir}/*.parquet`, "*.parquet: no file has such a name"],
      [`${a},${dir}/rows-*`, "rows-0.jsonl is in it twice"],
      [`${a},,${b}`, "nothing between two commas"],
    ];
    for (const [names, says] of bad) {
      assertStringIncludes(assertThrows(() => rowFiles(names), DataError).message, says);
    }
    return Promise.resolve();
  }));

Deno.test("files of rows: their rows follow each other, in memory and in a token cache", () =>
  inTempDir(async (dir) => {
    const files = shards(dir).slice(0, 3);
    using memory = await open(files.join(","), null);
    using cached = await open(files.join(","), `${dir}/cache`);
    const all = firstExamples(memory.examples, Infinity);
    assertEquals(all.map((e) => e.answer), Array.from({ length: 9 }, (_, i) => `${i}`));
    assertEquals(all.map((e) => e.where).slice(3, 8), [
      ...[`${files[0]}:4`, `${files[1]}:1`, `${files[1]}:2`, `${files[1]}:3`, `${files[2]}:1 (item 1)`],
    ]);
    assertEquals(firstExamples(cached.examples, Infinity), all);
    assertEquals(cached.digest, memory.digest);
    Deno.writeTextFileSync(files[1]!, '{"question":"a"}');
    const error = await assertRejects(() => open(files.join(","), `${dir}/cache`), DataError);
    assertStringIncludes(error.message, `${files[1]}:1: the row's keys are {"question"}`);
  }));

Deno.test("held out: each example is learnt or held out, as the seed decides, whatever holds the examples", () => {
  assertEquals(["5%", "0.5%", "5", "x%", "-1%"].map(heldShare), [0.05, 0.005, null, null, null]);
  fc.assert(
    fc.property(
      fc.integer({ min: 2, max: 300 }),
      fc.double({ min: 0.001, max: 0.99, noNaN: true }),
      fc.nat(),
      (n, share, seed) => {
        const { train, held } = holdOut(n, share, seed, "d.jsonl");
        assertEquals([...train, ...held].sort((a, b) => a - b), Array.from({ length: n }, (_, i) => i));
        assertEquals(
          [[...train], [...held]],
          [[...train], [...held]].map((part) => part.toSorted((a, b) => a - b)),
        );
        assert(
          train.length > 0 && held.length > 0 && Math.abs(held.length - n * share) <= 1,
          `${held.length} of ${n}`,
        );
        assertEquals(holdOut(n, share, seed, "d.jsonl"), { train, held });
      },
    ),
  );
  const orders = [1, 2].map((seed) => holdOut(100, 0.5, seed, "d.jsonl").held.join());
  assert(orders[0] !== orders[1]);
  assertThrows(() => holdOut(1, 0.5, 0, "d.jsonl"), DataError, "d.jsonl: has one row to learn");
});

Deno.test("held out: what is known of examples without reading them is theirs", () =>
  inTempDir(async (dir) => {
    const names = shards(dir).slice(0, 3).join(",");
    using memory = await open(names, null);
    using cached = await open(names, `${dir}/cache`);
    const { held } = holdOut(9, 0.3, 1, names);
    const [one, other] = [memory, cached].map(({ examples }) => pickExamples(examples, held));
    assertEquals(firstExamples(other!, Infinity), firstExamples(one!, Infinity));
    assertEquals(longestAsked(other!), longestAsked(one!));
    assertEquals([other!.length, other!.at(3)], [3, undefined]);
  }));

Deno.test("held out: a run measures on a share of its data, and another share or seed is another run", () =>
  inTempDir(async (dir) => {
    const names = shards(dir).slice(0, 3);
    const argv = ["--device", "cpu", "--seq", "64", "--batch", "4", "--method", "lora", "--target", "q_proj"];
    const all = [...argv, "--data", names.join(","), "--eval", "25%", "--steps"];
    const { result, said } = await fineTuned(`${dir}/a`, [...all, "1"]);
    assert(!(result instanceof UserError), String(result));
    assertMatch(said, /: 9 rows\nheld out: 2 of these rows\n/);
    assert(result.eval_before !== null && result.exact_before !== null);
    const { result: refused } = await fineTuned(`${dir}/a`, ["--resume", "--steps", "2", "--eval", "50%"]);
    assertStringIncludes(String(refused), "--eval was 25% and is 50%");
    const { result: more } = await fineTuned(`${dir}/a`, ["--resume", "--steps", "2"]);
    assert(!(more instanceof UserError) && more.steps === 2, String(more));
    const { result: bad } = await fineTuned(`${dir}/b`, [...all.slice(0, -2), "100%", "--steps", "1"]);
    assertStringIncludes(
      String(bad),
      '--eval is "100%": give files, a share of the data above 0% and below 100%, or none',
    );
  }));
