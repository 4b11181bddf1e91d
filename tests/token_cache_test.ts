/** Rows that do not fit into memory: token caches hold the same examples, and are whole or not used. @module */
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
import { batches, batchShapes } from "../train/batches.ts";
import type { Example } from "../train/data.ts";
import { type Examples, firstExamples } from "../train/data/examples.ts";
import { type OpenRows, openRows, type RowOptions } from "../train/data/open_rows.ts";
import { DataError, UserError, WriteError } from "../train/errors.ts";
import { type FormatName } from "../train/rows.ts";
import { loadTokenizer } from "../train/tokenizer.ts";
import { filesOf, tables } from "./row_tables.ts";
import { fineTuned, inTempDir, root } from "./runs.ts";

const tokenizer = loadTokenizer(`${root}/examples/base`);
const FIXTURES = `${root}/tests/fixtures/parquet`;

interface Opened {
  readonly rows: OpenRows;
  readonly said: string;
}

/** Open a file by way of a cache in `dir`, or in memory. */
async function open(
  file: string,
  dir: string | null,
  options: Partial<RowOptions> = {},
  stopped: () => boolean = () => false,
): Promise<Opened> {
  const said: string[] = [];
  const rows = await openRows(file, tokenizer, {
    ...{ seq: 24, format: "auto", dryRun: false, tokenCache: dir },
    ...{ stream: dir === null ? "never" : "always", ...options },
  }, { say: (line) => said.push(line), stopped });
  return { rows, said: said.join("\n") };
}

function allOf(examples: Examples): Example[] {
  return firstExamples(examples, Infinity);
}

Deno.test("token caches: examples, batches and digests are those of memory, in every form of file", () =>
  inTempDir((dir) =>
    fc.assert(
      fc.asyncProperty(
        tables,
        fc.record({
          batch: fc.integer({ min: 1, max: 5 }),
          seed: fc.nat(),
          pack: fc.boolean(),
          shuffle: fc.boolean(),
        }),
        fc.nat(7),
        async ({ names, rows }, order, skip) => {
          for (const [name, content] of filesOf(names, rows)) {
            for (const [file, bytes] of [[name, content], [`${name}.gz`, gzipSync(content)]] as const) {
              const path = `${dir}/${file}`;
              Deno.writeFileSync(path, typeof bytes === "string" ? new TextEncoder().encode(bytes) : bytes);
              const inMemory = await open(path, null).catch((error) => error);
              const cached = await open(path, `${dir}/cache`).catch((error) => error);
              if (inMemory instanceof Error) {
                assertEquals(cached.message, inMemory.message);
                continue;
              }
              using one = inMemory.rows as OpenRows, other = cached.rows as OpenRows;
              assertEquals(allOf(other.examples), allOf(one.examples));
              assertEquals([other.digest, other.truncated, other.dropped], [
                one.digest,
                one.truncated,
                one.dropped,
              ]);
              const options = { ...order, seq: 24, epochs: 2 };
              const all = [...batches(one.examples, options)];
              assertEquals([...batches(other.examples, options)], all);
              assertEquals([...batches(other.examples, options, skip)], all.slice(skip));
              assertEquals(
                [...batchShapes(other.examples, options)],
                all.map(({ rows, length, members }) => ({
                  ...{ rows, length },
                  filled: members.reduce((n, { ids }) => n + ids.length - 1, 0),
                })),
              );
            }
          }
        },
      ),
      { numRuns: 12 },
    )
  ));

Deno.test("token caches: parquet's rows are read some at a time, pages that begin at other rows included", () =>
  inTempDir(async (dir) => {
    for (const name of ["pages", "pages_v2", "chat", "labels"]) {
      const file = `${FIXTURES}/${name}.parquet`;
      const { rows } = await open(file, `${dir}/cache`, { seq: 64 });
      using opened = rows;
      using inMemory = (await open(file, null, { seq: 64 })).rows;
      assertEquals(opened.digest, inMemory.digest);
      if (!name.startsWith("pages")) continue;
      assertEquals(opened.examples.length, 20_000);
      for (const i of [0, 1, 8191, 8192, 16_383, 16_384, 17_999, 18_000, 19_999]) {
        const { prompt, ids, where } = opened.examples.at(i)!;
        assertEquals(prompt, `${i % 977} and ${i % 13}`);
        assertEquals(tokenizer.decode([...ids]), `${prompt}${`${i % 7}`.repeat(1 + i % 3)}`);
        assertEquals(where, `${file}: row ${i + 1}`);
      }
    }
  }));

/** A file of `count` questions. */
function questions(file: string, count: number): string {
  const rows = Array.from(
    { length: count },
    (_, i) => ({ question: `Tom has ${i} balls.`, answer: `${i}\n#### ${i}` }),
  );
  Deno.writeTextFileSync(file, rows.map((row) => JSON.stringify(row)).join("\n"));
  return file;
}

Deno.test("token caches: a second run takes the first one's; another file, length or format makes its own", () =>
  inTempDir(async (dir) => {
    const file = questions(`${dir}/d.jsonl`, 50), cache = `${dir}/cache`;
    const cases: readonly (readonly [options: Partial<RowOptions>, made: boolean])[] = [
      [{}, true],
      [{}, false],
      [{ seq: 12 }, true],
      [{ format: "question" as FormatName }, true],
      [{ seq: 12 }, false],
    ];
    for (const [options, made] of cases) {
      const { rows, said } = await open(file, cache, options);
      rows[Symbol.dispose]();
      assertMatch(
        said,
        made ? /not held in memory.*\n.* of tokens written in/ : /tokens from .*d\.jsonl-[0-9a-f]{16} \(/,
      );
    }
    questions(file, 51);
    const { rows } = await open(file, cache);
    using opened = rows;
    assertEquals(opened.examples.length, 51);
    assert([...Deno.readDirSync(cache)].every(({ name }) => /^d\.jsonl-[0-9a-f]{16}$/.test(name)));
  }));

Deno.test("token caches: whatever is changed in one, no other example is ever given", () =>
  inTempDir(async (dir) => {
    const file = questions(`${dir}/d.jsonl`, 30), cache = `${dir}/cache`;
    const { rows } = await open(file, cache);
    const expected = allOf(rows.examples);
    rows[Symbol.dispose]();
    const place = `${cache}/${[...Deno.readDirSync(cache)][0]!.name}`;
    const good = ["rows", "index", "cache.json"].map((n) => [n, Deno.readFileSync(`${place}/${n}`)] as const);
    let rebuilt = 0, refused = 0;
    await fc.assert(
      fc.asyncProperty(
        fc.nat(2),
        fc.nat(),
        fc.constantFrom("flip", "flip", "flip", "cut", "insert", "gone", "directory"),
        async (which, where, how) => {
          for (const [name, bytes] of good) {
            if (Deno.statSync(`${place}/${name}`).isDirectory) Deno.removeSync(`${place}/${name}`);
            Deno.writeFileSync(`${place}/${name}`, bytes);
          }
          const [name, bytes] = good[which]!, at = where % bytes.length, path = `${place}/${name}`;
          if (how === "gone" || how === "directory") Deno.removeSync(path);
          if (how === "directory") Deno.mkdirSync(path);
          const changed = {
            flip: () => bytes.map((b, i) => i === at ? b ^ (1 << where % 8) : b),
            cut: () => bytes.subarray(0, at),
            insert: () => Uint8Array.from([...bytes.subarray(0, at), where % 256, ...bytes.subarray(at)]),
          };
          if (how in changed) Deno.writeFileSync(path, changed[how as keyof typeof changed]());
          for (let again = 0; again < 2; again++) {
            const { rows, said } = await open(file, cache);
            using opened = rows;
            if (said.includes("the token cache is damaged")) rebuilt++;
            try {
              assertEquals(allOf(opened.examples), expected);
              return;
            } catch (error) {
              if (!(error instanceof DataError) || again > 0) throw error;
              assertMatch(error.message, /example \d+ is not as it was written.*start again/);
              refused++;
            }
          }
        },
      ),
      { numRuns: 60 },
    );
    assert(rebuilt > 10 && refused > 0, `${rebuilt} were made again, ${refused} refused`);
  }));

Deno.test("token caches: an index that changes while it is used gives no other example", () =>
  inTempDir(async (dir) => {
    const file = questions(`${dir}/d.jsonl`, 20), { rows } = await open(file, `${dir}/cache`);
    using opened = rows;
    const own = `${dir}/cache/${[...Deno.readDirSync(`${dir}/cache`)].find((e) => e.isDirectory)!.name}`;
    const whole = Deno.readFileSync(`${own}/index`), first = opened.examples.at(0);
    const changes: readonly ((index: Uint8Array) => Uint8Array)[] = [
      // Two examples' places exchanged, one far outside, not a number, and a file cut short.
      (index) =>
        Uint8Array.from([...index.subarray(12, 24), ...index.subarray(0, 12), ...index.subarray(24)]),
      (index) => (new DataView(index.buffer).setFloat64(12, 2 ** 50, true), index),
      (index) => (new DataView(index.buffer).setFloat64(0, NaN, true), index),
      () => new Uint8Array(0),
    ];
    for (const change of changes) {
      Deno.writeFileSync(`${own}/index`, change(whole.slice()));
      assertThrows(() => opened.examples.at(0), DataError, "is not as it was written");
      assertEquals(opened.examples.outline!.idsAt(0), first!.ids.length);
    }
    Deno.writeFileSync(`${own}/index`, whole);
    assertEquals(opened.examples.at(0), first);
  }));

Deno.test("token caches: bad rows, interruptions and kills leave nothing", () =>
  inTempDir(async (dir) => {
    const cache = `${dir}/cache`, file = `${dir}/d.jsonl`;
    const left = (): string[] => [...Deno.readDirSync(cache)].map((e) => e.name);
    Deno.writeTextFileSync(file, '{"text":"a"}\n\n{"text":"b"}\n{"texts":"c"}\n');
    const bad = await assertRejects(() => open(file, cache), DataError);
    assertStringIncludes(bad.message, `d.jsonl:4: the row's keys are {"texts"}`);
    assertEquals(left(), []);
    Deno.writeTextFileSync(file, "\n\n");
    assertStringIncludes(
      (await assertRejects(() => open(file, cache), DataError)).message,
      "d.jsonl: has no rows",
    );
    questions(file, 5);
    const short = await assertRejects(() => open(file, cache, { seq: 2 }), DataError);
    assertStringIncludes(short.message, "none of 5 rows has a token to learn within --seq 2");
    const stopped = await assertRejects(() => open(file, cache, {}, () => true), UserError);
    assertStringIncludes(stopped.message, "interrupted while the tokens of");
    assertEquals(left(), []);
    // What a process that was killed leaves, of this file or another.
    for (const name of ["d.jsonl-0011223344556677.01234567.partial", "other.89abcdef.replaced"]) {
      Deno.mkdirSync(`${cache}/${name}`);
      Deno.writeTextFileSync(`${cache}/${name}/rows`, "x");
    }
    (await open(file, cache)).rows[Symbol.dispose]();
    assertEquals(left().length, 1);
  }));

Deno.test("token caches: of two processes one makes it, the other waits", () =>
  inTempDir(async (dir) => {
    const file = questions(`${dir}/d.jsonl`, 3000), cache = `${dir}/cache`;
    const both = await Promise.all([open(file, cache), open(file, cache)]);
    const [made, waited] = both.toSorted((a, b) => a.said.length - b.said.length);
    using one = made!.rows, other = waited!.rows;
    assertEquals(other.digest, one.digest);
    assertEquals(both.map(({ said }) => said.includes("of tokens written in")).sort(), [false, true]);
    assert(both.some(({ said }) => said.includes("another process is writing it; waiting")));
  }));

Deno.test("token caches: a directory that takes no files is named, with the flag", () =>
  inTempDir(async (dir) => {
    const file = questions(`${dir}/d.jsonl`, 5);
    for (const place of ["/proc/gyre", `${file}/x`]) {
      const error = await assertRejects(() => open(file, place), WriteError);
      assertMatch(
        error.message,
        /cannot be written there \(.*os error \d+\)\); .*another directory with --token-cache/,
      );
    }
  }));

Deno.test("token caches: a dry run takes the first rows for all, and writes nothing", () =>
  inTempDir(async (dir) => {
    const file = questions(`${dir}/d.jsonl`, 60_000), cache = `${dir}/cache`;
    for (const path of [file, `${file}.gz`]) {
      if (path !== file) Deno.writeFileSync(path, gzipSync(Deno.readFileSync(file)));
      const { rows, said } = await open(path, cache, { dryRun: true });
      using sample = rows;
      const share = sample.examples.length / 60_000;
      assert(sample.examples.length >= 5000 && share < 0.9, `${sample.examples.length}`);
      assert(
        Math.abs(sample.share / share - 1) < 0.2,
        `${sample.share} of the file for ${share} of its rows`,
      );
      assertMatch(said, /these figures are of the first \d+ rows, about [\d.]+ % of it/);
    }
    assert(![...Deno.readDirSync(dir)].some((e) => e.name === "cache"));
  }));

Deno.test("token caches: pipes have none", () =>
  inTempDir(async (dir) => {
    const pipe = `${dir}/pipe`;
    assert((await new Deno.Command("mkfifo", { args: [pipe] }).output()).success);
    const writer = new Deno.Command("sh", { args: ["-c", `echo '{"text":"Tom has"}' > ${pipe}`] }).spawn();
    const error = await assertRejects(() => open(pipe, `${dir}/cache`), UserError);
    assertStringIncludes(error.message, "is a pipe, which cannot be told from another");
    await writer.status;
  }));

/** The metrics without what depends on the clock, and what was trained. */
function resultsOf(out: string): unknown {
  const lines = Deno.readTextFileSync(`${out}/metrics.jsonl`).trimEnd().split("\n");
  // The end of a part is measured too.
  const metrics = lines.filter((line) => !line.includes("held_out")).map((line) => ({
    ...JSON.parse(line),
    ...{ seconds: 0, tokens_per_s: 0 },
  }));
  const samples = Deno.readTextFileSync(`${out}/samples.json`);
  return { metrics, samples, adapter: Deno.readFileSync(`${out}/adapter/adapter.safetensors`) };
}

Deno.test("a run from token caches is the run from memory to the bit, and goes on in either way", () =>
  inTempDir(async (dir) => {
    const held = `${dir}/held.jsonl`;
    const rows = Deno.readTextFileSync(`${root}/examples/data/eval.jsonl`).split("\n").slice(0, 3);
    Deno.writeTextFileSync(held, rows.join("\n"));
    const argv = [
      "--device",
      "cpu",
      "--seq",
      "64",
      "--batch",
      "4",
      "--method",
      "lora-ga",
      "--target",
      "q_proj",
    ];
    const all = [...argv, "--eval", held, "--token-cache", `${dir}/cache`];
    const run = async (out: string, ...more: string[]): Promise<string> => {
      const { result, said } = await fineTuned(`${dir}/${out}`, [...all, ...more]);
      assert(!(result instanceof UserError), String(result));
      return said;
    };
    await run("memory", "--steps", "6", "--schedule", "constant");
    const said = await run("cache", "--steps", "3", "--schedule", "constant", "--stream", "always");
    assertMatch(said, /train\.jsonl: .* of tokens written in[^]*held\.jsonl: .* of tokens written in/);
    const { result } = await fineTuned(`${dir}/cache`, ["--resume", "--steps", "5"]);
    assert(!(result instanceof UserError), String(result));
    await run("cache", "--resume", "--steps", "6", "--stream", "never");
    assertEquals(resultsOf(`${dir}/cache`), resultsOf(`${dir}/memory`));
  }));
