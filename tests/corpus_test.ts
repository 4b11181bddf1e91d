/**
 * The bundled example's text: same on every machine, arithmetically right, its splits apart, and its tokenizer lossless.
 * @module
 */
import { assert, assertEquals, assertThrows } from "@std/assert";
import fc from "fast-check";
import { Tokenizer } from "@huggingface/tokenizers";
import { tokenizerConfig, tokenizerJson, trainBpe } from "../examples/bpe.ts";
import { longTaskRows, pretrainDocuments, pretrainRows, type TaskRow, taskRows } from "../examples/corpus.ts";

const SEED = 1;

function read(path: string): string {
  return Deno.readTextFileSync(new URL(`../examples/${path}`, import.meta.url));
}

function rowsOf(path: string): readonly TaskRow[] {
  return read(path).trimEnd().split("\n").map((line) => JSON.parse(line));
}

function texts(seed: number, chars: number): readonly string[] {
  return Array.from(pretrainRows(seed, chars), ({ text }) => text);
}

/** Solve a question from its words alone, without the generator's equations. */
function solve(question: string): number {
  const [a, b, c] = (question.match(/\d+/g) ?? []).map(Number);
  assert(a !== undefined && b !== undefined, question);
  if (question.includes(" than ")) return a + a + (question.includes(" more ") ? b : -b);
  assert(c !== undefined, question);
  if (question.includes("coins each")) return a - b * c;
  const moves = Array.from(
    question.matchAll(
      /(buys|finds|makes|gets|gives him|gives her|sells|loses|breaks|takes|gives) (\d+)/g,
    ),
    ([, verb, count]) => /^(buys|finds|makes|gets|gives h)/.test(verb!) ? Number(count) : -Number(count),
  );
  const told = moves.slice(question.includes("in each") ? -1 : -2);
  return told.reduce((sum, move) => sum + move, question.includes("in each") ? a * b : a);
}

/** Solve a question of the long task from its words alone. */
function solveLong(question: string): number {
  const [a, b, c, d, e] = (question.match(/\d+/g) ?? []).map(Number) as [
    number,
    number,
    number,
    number,
    number,
  ];
  if (question.includes("coins each")) return a - b * c - d * e;
  const together = / Together they (find|lose) /.exec(question);
  if (together) return 2 * a + (question.includes(" more ") ? b : -b) + (together[1] === "find" ? c : -c);
  if (/\d (bag|box|jar|bowl)e?s of/.test(question)) return a * b + c * d;
  const gains = /^(buys|finds|makes|gets|gives h)/;
  const moves = question.matchAll(
    /(buys|finds|makes|gets|gives him|gives her|sells|loses|breaks|takes|gives) (\d+)/g,
  );
  return Array.from(moves, ([, verb, n]) => gains.test(verb!) ? Number(n) : -Number(n)).slice(-3)
    .reduce((sum, move) => sum + move, a);
}

/** What decides a problem, names and wording left out: its kind and its equations. */
function problemOf({ question, answer }: TaskRow): string {
  const kind = ["in each", " than ", "coins each"].find((mark) => question.includes(mark)) ?? "changes";
  return `${kind}: ${answer}`;
}

Deno.test("the corpus: the committed rows are those that the generator makes", () => {
  assertEquals(rowsOf("data/train.jsonl"), taskRows("train", SEED, 4000));
  assertEquals(rowsOf("data/eval.jsonl"), taskRows("eval", SEED, 200));
});

Deno.test("the corpus: a document depends on the seed and its place alone", () => {
  fc.assert(fc.property(fc.nat(), (seed) => {
    const [first, second] = [pretrainDocuments(seed), pretrainDocuments(seed)];
    const docs = Array.from({ length: 20 }, () => first.next().value);
    assertEquals(Array.from({ length: 20 }, () => second.next().value), docs);
    assert(new Set(docs).size > 10, `seed ${seed} repeats itself`);
    assertEquals(taskRows("train", seed, 20).slice(0, 5), taskRows("train", seed, 5));
  }));
  assert(texts(1, 1000).join() !== texts(2, 1000).join());
});

Deno.test("the corpus: train and eval share no question and no problem, whatever the seeds", () => {
  fc.assert(
    fc.property(fc.nat(), fc.nat(), (a, b) => {
      const [train, held] = [taskRows("train", a, 600), taskRows("eval", b, 200)];
      assertEquals(new Set(train.map(({ question }) => question)).size, 600);
      const seen = new Set([...train.map(problemOf), ...train.map(({ question }) => question)]);
      for (const row of held) assert(!seen.has(row.question) && !seen.has(problemOf(row)), row.question);
    }),
    { numRuns: 20 },
  );
});

Deno.test("the corpus: pretraining text holds no question of the task and no line of its answers' form", () => {
  const text = texts(SEED, 3_000_000).join("\n");
  assert(text.includes("####") && !/#### ?\d/.test(text));
  for (const { question } of rowsOf("data/eval.jsonl")) assert(!text.includes(question), question);
});

Deno.test("the corpus: every equation of the pretraining text holds", () => {
  const apply = {
    "+": (a: number, b: number) => a + b,
    "-": (a: number, b: number) => a - b,
    "*": (a: number, b: number) => a * b,
  };
  const signs = { plus: "+", minus: "-", times: "*" } as const;
  let seen = 0;
  for (const text of texts(SEED, 500_000)) {
    for (const [all, a, sign, b, c] of text.matchAll(/(\d+)([-+*])(\d+)=(\d+)/g)) {
      assertEquals(apply[sign as keyof typeof apply](Number(a), Number(b)), Number(c), all);
      seen++;
    }
    for (const [all, a, word, b, c] of text.matchAll(/(\d+) (plus|minus|times) (\d+)(?:\? It)? is (\d+)/g)) {
      assertEquals(apply[signs[word as keyof typeof signs]](Number(a), Number(b)), Number(c), all);
      seen++;
    }
  }
  assert(seen > 5000, `only ${seen} equations`);
});

Deno.test("the corpus: every answer of the task follows from its question", () => {
  for (const row of [...rowsOf("data/eval.jsonl"), ...taskRows("train", SEED + 1, 4000)]) {
    const [first, second, last, ...rest] = row.answer.split("\n");
    assertEquals(rest, []);
    for (const line of [first, second]) {
      const [, a, sign, b, c] = /^(\d+)([-+*])(\d+)=(\d+)$/.exec(line ?? "") ?? [];
      const right = sign === "+"
        ? Number(a) + Number(b)
        : sign === "-"
        ? Number(a) - Number(b)
        : Number(a) * Number(b);
      assertEquals(right, Number(c), line);
    }
    assertEquals(last, `#### ${solve(row.question)}`, row.question);
    assertEquals(second!.split("=")[1], last!.slice(5));
  }
});

Deno.test("the corpus: the long task's answers follow from its questions, in three or four steps, and its splits are apart", () => {
  const [train, held] = [longTaskRows("train", SEED, 4000), longTaskRows("eval", SEED + 1, 400)];
  for (const { question, answer } of [...train, ...held]) {
    const lines = answer.split("\n");
    assert(lines.length === 4 || lines.length === 5, answer);
    for (const line of lines.slice(0, -1)) {
      const [, a, sign, b, c] = /^(\d+)([-+*])(\d+)=(\d+)$/.exec(line) ?? [];
      const right = sign === "*" ? Number(a) * Number(b) : Number(a) + (sign === "+" ? 1 : -1) * Number(b);
      assertEquals(right, Number(c), line);
    }
    assertEquals(lines.at(-1), `#### ${solveLong(question)}`, question);
  }
  const seen = new Set(train.map(({ answer }) => answer));
  for (const { answer } of held) assert(!seen.has(answer), answer);
});

const tokenizer = new Tokenizer(
  JSON.parse(read("base/tokenizer.json")),
  JSON.parse(read("base/tokenizer_config.json")),
);

function ids(text: string): number[] {
  return tokenizer.encode(text, { add_special_tokens: false }).ids;
}

Deno.test("the tokenizer: the committed files are what training on the text gives", () => {
  assertEquals(JSON.parse(read("base/tokenizer.json")), tokenizerJson(trainBpe(texts(SEED, 1_000_000), 512)));
  assertEquals(JSON.parse(read("base/tokenizer_config.json")), tokenizerConfig(256));
  assertEquals(JSON.parse(read("base/config.json")).vocab_size, 512);
});

Deno.test("the tokenizer: every text comes back whole, and <s> opens it", () => {
  const anyText = fc.oneof(
    fc.string({ unit: "grapheme-ascii" }),
    fc.string({ unit: "binary" }),
    fc.constantFrom("\r\n\t  x", "5 é"),
  );
  fc.assert(
    fc.property(anyText, (text) => {
      fc.pre(text !== "");
      assertEquals(tokenizer.decode(ids(text)), text);
      assertEquals(tokenizer.encode(text).ids, [1, ...ids(text)]);
    }),
    { numRuns: 500 },
  );
});

Deno.test("the tokenizer: a digit is a token of its own, and the prompt's end is a token's end", () => {
  for (const token of tokenizer.get_vocab().keys()) assert(!/\d./.test(token) && !/.\d/.test(token), token);
  fc.assert(fc.property(fc.nat(9999), (n) => assertEquals(ids(`${n}`).length, `${n}`.length)));
  for (const { question, answer } of rowsOf("data/eval.jsonl")) {
    assertEquals([...ids(`${question}\n`), ...ids(answer)], ids(`${question}\n${answer}`));
  }
});

Deno.test("the tokenizer: pretraining meets every token of the task often, for a frozen embedding has to tell them apart", () => {
  const met = new Map<number, number>();
  for (const id of texts(SEED, 500_000).flatMap(ids)) met.set(id, (met.get(id) ?? 0) + 1);
  for (const { question, answer } of [...rowsOf("data/train.jsonl"), ...rowsOf("data/eval.jsonl")]) {
    for (const id of ids(`${question}\n${answer}`)) {
      assert((met.get(id) ?? 0) >= 30, `"${tokenizer.id_to_token(id)}" occurs ${met.get(id) ?? 0} times`);
    }
  }
});

Deno.test("the tokenizer: a row of the long task has at most 100 tokens, all met in pretraining", () => {
  const met = new Set(texts(SEED, 500_000).flatMap(ids));
  for (const { question, answer } of longTaskRows("train", SEED, 2000)) {
    const row = ids(`${question}\n${answer}`);
    assert(row.length + 2 <= 100, `${row.length + 2} tokens: ${question}`);
    for (const id of row) assert(met.has(id), `"${tokenizer.id_to_token(id)}" never occurs`);
  }
});

Deno.test("the tokenizer: a row with its opening and closing token has at most 80 tokens", () => {
  for (const { question, answer } of [...rowsOf("data/train.jsonl"), ...rowsOf("data/eval.jsonl")]) {
    const length = ids(`${question}\n${answer}`).length + 2;
    assert(length <= 80, `${length} tokens: ${question}`);
  }
});

Deno.test("the tokenizer: vocabularies that cannot be filled are refused", () => {
  assertThrows(() => trainBpe(["a"], 259), RangeError, "cannot hold the bytes");
  assertThrows(() => trainBpe(["ab ab"], 512), RangeError, "fill a vocabulary of only");
  assertThrows(() => taskRows("train", 1, -1), RangeError, "whole number");
});
