/** Rows, examples and batches: what is learnt, what is left out, and that nothing is lost on the way. @module */
import { assert, assertEquals, assertNotEquals, assertStringIncludes, assertThrows } from "@std/assert";
import * as fc from "fast-check";
import { batches, batchesPerEpoch, bucketLengths, IGNORED, type TokenBatch } from "../train/batches.ts";
import { type Example, exampleOf, fitExamples, loadDataset } from "../train/data.ts";
import { DataError } from "../train/errors.ts";
import { parseRow, parseRows, type Row } from "../train/rows.ts";
import { schedule, type ScheduleName, warmupSteps } from "../train/schedule.ts";
import { loadTokenizer, type Tokenizer, tokenizerOf } from "../train/tokenizer.ts";

const BASE = new URL("../examples/base", import.meta.url).pathname;
const tokenizer = loadTokenizer(BASE);

function example(row: Row, using: Tokenizer = tokenizer): Example {
  return exampleOf({ row, where: "rows.jsonl:1" }, using);
}

function learnt({ ids, trained }: Example): number[] {
  return ids.filter((_, i) => trained[i]);
}

Deno.test("rows: each kind is read", () => {
  const lines = [
    { question: "q", answer: "a" },
    { prompt: "p", completion: "c" },
    { text: "t" },
    { messages: [{ role: "user", content: "u" }] },
  ];
  const text = "\uFEFF" + lines.map((l) => JSON.stringify(l)).join("\r\n") + "\n\n";
  assertEquals(parseRows(text, "d.jsonl").map((r) => r.row), [
    { kind: "prompt", prompt: "q\n", completion: "a" },
    { kind: "prompt", prompt: "p", completion: "c" },
    { kind: "text", text: "t" },
    { kind: "chat", messages: [{ role: "user", content: "u" }] },
  ]);
});

const BROKEN: readonly (readonly [text: string, says: string])[] = [
  ['{"text":"a"}\n\n{"text":', "d.jsonl:3: not JSON"],
  ["", "d.jsonl: has no rows"],
  ["\n \n", "d.jsonl: has no rows"],
  ["[1]", "d.jsonl:1: expected a JSON object, one of"],
  [
    '{"text":"a","weight":1,"note":2}',
    `d.jsonl:1: the row's keys are {"text", "weight", "note"}; remove "weight", "note", or give --format text.`,
  ],
  ['{"question":"a"}', `the row's keys are {"question"}; expected one of {"question", "answer"}`],
  ['{"text":null}', "d.jsonl:1: text is null; expected a text"],
  ['{"messages":[]}', `messages is []; expected a list of {"role", "content"}`],
  ['{"messages":[{"role":"user"}]}', `messages is [{"role":"user"}]; expected`],
];

for (const [text, says] of BROKEN) {
  Deno.test(`rows: ${JSON.stringify(text)} is refused`, () => {
    const error = assertThrows(() => parseRows(text, "d.jsonl"), DataError);
    assertStringIncludes(error.message, says);
    assert(!error.message.includes("\n"));
  });
}

Deno.test("rows: long values are cut short in messages", () => {
  const error = assertThrows(() => parseRow({ messages: "x".repeat(500) }, "d:1"), DataError);
  assert(error.message.length < 200, error.message);
});

Deno.test("examples: of a question only the answer and the end are learnt", () => {
  const made = example({ kind: "prompt", prompt: "Sam has 6 pens.\n", completion: "6+1=7\n#### 7" });
  assertEquals(tokenizer.decode(learnt(made)), "6+1=7\n#### 7");
  assertEquals(made.ids.at(-1), tokenizer.eosId);
  assertEquals(made.trained.at(-1), true);
  assertEquals(made.ids.slice(0, made.promptLength), tokenizer.encode("Sam has 6 pens.\n"));
  assertEquals(made.answer, "7");
  assertEquals(made.prompt, "Sam has 6 pens.\n");
  assertEquals("answer" in example({ kind: "prompt", prompt: "a", completion: "b" }), false);
});

Deno.test("examples: prompt and completion together are the tokens of the whole text", () => {
  fc.assert(fc.property(fc.string(), fc.string({ minLength: 1 }), (prompt, completion) => {
    const made = example({ kind: "prompt", prompt, completion });
    assertEquals(made.ids, [...tokenizer.encode(prompt + completion), tokenizer.eosId]);
    const firstTrained = made.trained.indexOf(true);
    assertEquals(firstTrained, made.promptLength);
    assert(made.trained.slice(firstTrained).every((t) => t), "the learnt tokens are the last ones");
    assert(made.promptLength <= tokenizer.encode(prompt).length);
  }));
});

Deno.test("examples: of a text everything but the first token is learnt", () => {
  const { ids, trained } = example({ kind: "text", text: "Once upon a time" });
  assertEquals(ids, [...tokenizer.encode("Once upon a time"), tokenizer.eosId]);
  assertEquals(trained.map(Number), ids.map((_, i) => Number(i > 0)));
});

const CHAT = [
  { role: "user", content: "hi" },
  { role: "assistant", content: "ho" },
  { role: "user", content: "more" },
  { role: "assistant", content: "no" },
];

Deno.test("examples: of a chat only the assistant's messages and their ends are learnt", () => {
  const made = example({ kind: "chat", messages: CHAT });
  assertEquals(tokenizer.decode([...made.ids]), "user: hi\nassistant: ho\nuser: more\nassistant: no");
  assertEquals(tokenizer.decode(learnt(made)), " ho no");
  assertEquals(learnt(made).filter((id) => id === tokenizer.eosId).length, 2);
  assertEquals(made.ids.slice(0, made.promptLength), tokenizer.encode("user: hi\nassistant:"));
});

function withTemplate(template: string): Tokenizer {
  const read = (name: string): unknown => JSON.parse(Deno.readTextFileSync(`${BASE}/${name}`));
  return tokenizerOf(
    { tokenizer: read("tokenizer.json"), config: read("tokenizer_config.json"), template },
    "base",
  );
}

Deno.test("examples: a model's own chat template is followed, its begin token not doubled", () => {
  const own = withTemplate(
    "{{ bos_token }}{% for m in messages %}<{{ m.role }}>{{ m.content }}{{ eos_token }}{% endfor %}" +
      "{% if add_generation_prompt %}<assistant>{% endif %}",
  );
  const made = example({ kind: "chat", messages: CHAT }, own);
  assertEquals(made.ids.filter((id) => id === own.bosId).length, 1);
  assertEquals(own.decode(learnt(made)), "hono");
});

Deno.test("examples: a template that rewrites what was said, or refuses it, is an error with file and line", () => {
  const rewriting = withTemplate("{{ messages | length }}{% for m in messages %}{{ m.content }}{% endfor %}");
  assertThrows(
    () => example({ kind: "chat", messages: CHAT }, rewriting),
    DataError,
    "rows.jsonl:1: the chat template rewrites earlier messages",
  );
  const refusing = withTemplate("{{ raise_exception('no system role') }}");
  assertThrows(() => example({ kind: "chat", messages: CHAT }, refusing), DataError, "no system role");
});

function made(ids: number, from: number): Example {
  return {
    ids: Array.from({ length: ids }, (_, i) => i + 1),
    trained: Array.from({ length: ids }, (_, i) => i >= from),
    promptLength: from,
    prompt: "",
  };
}

Deno.test("examples: long ones are cut and counted, those with nothing left are left out and counted", () => {
  const { examples, truncated, dropped } = fitExamples([
    made(5, 2),
    made(9, 2),
    made(9, 5),
    made(9, 4),
    made(1, 0),
  ], 4);
  assertEquals(examples.map((e) => e.ids.length), [5, 5, 5]);
  assertEquals([truncated, dropped], [2, 2]);
});

Deno.test("datasets: a file of nothing learnable and a missing file say what to do", () => {
  const dir = Deno.makeTempDirSync();
  try {
    const file = `${dir}/d.jsonl`;
    Deno.writeTextFileSync(file, JSON.stringify({ prompt: "a long long prompt", completion: "c" }));
    const error = assertThrows(() => loadDataset(file, tokenizer, 2), DataError);
    assertStringIncludes(error.message, "none of 1 rows has a token to learn within --seq 2");
    assertThrows(() => loadDataset(`${dir}/no.jsonl`, tokenizer, 2), DataError, "no.jsonl: not found");
    assertEquals(loadDataset(file, tokenizer, 64).examples.length, 1);
  } finally {
    Deno.removeSync(dir, { recursive: true });
  }
});

Deno.test("datasets: the bundled data fits the bundled model", () => {
  for (const name of ["train", "eval"]) {
    const file = new URL(`../examples/data/${name}.jsonl`, import.meta.url).pathname;
    const { examples, truncated, dropped } = loadDataset(file, tokenizer, 256);
    assertEquals([truncated, dropped], [0, 0]);
    assert(examples.every((e) => /^-?\d+$/.test(e.answer ?? "")), "every answer is a number");
  }
});

/** Examples that can be told apart: the first id is the example's number. */
const datasets = fc.array(fc.tuple(fc.integer({ min: 2, max: 40 }), fc.nat()), { maxLength: 30 })
  .map((sizes) =>
    sizes.map(([n, cut], i): Example => {
      const plain = made(n, 1 + cut % (n - 1));
      return { ...plain, ids: [1000 + i, ...plain.ids.slice(1)] };
    })
  );

function rowsOf({ ids, labels, rows, length }: TokenBatch): { ids: Int32Array; labels: Int32Array }[] {
  return Array.from({ length: rows }, (_, r) => ({
    ids: ids.slice(r * length, (r + 1) * length),
    labels: labels.slice(r * length, (r + 1) * length),
  }));
}

Deno.test("batches: every example comes once an epoch with its labels; nothing else is learnt", () => {
  const seq = 39;
  fc.assert(
    fc.property(
      datasets,
      fc.integer({ min: 1, max: 5 }),
      fc.nat(),
      fc.boolean(),
      (examples, batch, seed, shuffle) => {
        const all = [...batches(examples, { batch, seq, seed, epochs: 2, shuffle })];
        assertEquals(all.filter((b) => b.epoch === 0).length, batchesPerEpoch(examples, { batch, seq }));
        for (const epoch of [0, 1]) {
          const own = all.filter((b) => b.epoch === epoch), seen = new Map<number, number>();
          for (const b of own) {
            assertEquals([b.rows, b.ids.length, b.labels.length], [
              batch,
              batch * b.length,
              batch * b.length,
            ]);
            assert(bucketLengths(seq).includes(b.length));
            assertEquals(
              b.tokens,
              b.labels.filter((l) => l !== IGNORED).length,
            );
            const rows = rowsOf(b), full = rows.filter((r) => r.ids[0] !== 0);
            assertEquals(full.length, b.examples);
            for (const { labels } of rows.slice(b.examples)) assert(labels.every((l) => l === IGNORED));
            for (const { ids, labels } of full) {
              const source = examples[ids[0]! - 1000]!, n = source.ids.length - 1;
              seen.set(ids[0]!, (seen.get(ids[0]!) ?? 0) + 1);
              assertEquals([...ids.slice(0, n)], source.ids.slice(0, n));
              assertEquals(
                [...labels.slice(0, n)],
                source.ids.slice(1).map((id, t) => source.trained[t + 1] ? id : IGNORED),
              );
              assert(labels.slice(n).every((l) => l === IGNORED) && ids.slice(n).every((id) => id === 0));
            }
          }
          assertEquals(seen.size, examples.length);
          assert([...seen.values()].every((count) => count === 1));
          assert(own.slice(0, -1).every((b) => b.examples === batch), "only the last batch is filled up");
        }
      },
    ),
  );
});

Deno.test("batches: the seed decides the order, each epoch has its own, no shuffling keeps it", () => {
  const examples = Array.from({ length: 64 }, (_, i) => ({ ...made(5, 1), ids: [1000 + i, 2, 3, 4, 5] }));
  const order = (seed: number, shuffle = true): number[][] => {
    const epochs: number[][] = [[], []];
    for (const b of batches(examples, { batch: 4, seq: 8, seed, epochs: 2, shuffle })) {
      epochs[b.epoch]!.push(...rowsOf(b).map((r) => r.ids[0]!));
    }
    return epochs;
  };
  assertEquals(order(1), order(1));
  assertNotEquals(order(1)[0], order(1)[1]);
  assertNotEquals(order(1)[0], order(2)[0]);
  assertEquals(order(1, false)[0], examples.map((e) => e.ids[0]!));
});

Deno.test("batches: shuffling is fair", () => {
  const examples = Array.from({ length: 6 }, (_, i) => ({ ...made(3, 1), ids: [1000 + i, 2, 3] }));
  const counts = Array.from({ length: 6 }, () => new Array<number>(6).fill(0)), runs = 3000;
  for (let seed = 0; seed < runs; seed++) {
    const [first] = batches(examples, { batch: 6, seq: 8, seed, epochs: 1 });
    rowsOf(first!).forEach((r, place) => counts[r.ids[0]! - 1000]![place]!++);
  }
  // Each of 36 counts has mean 500 and standard deviation 20.4; five of these leave one failure in 50,000.
  for (const count of counts.flat()) assert(Math.abs(count - runs / 6) < 102, `${counts}`);
});

Deno.test("batches: epochs may be endless; examples that do not fit are refused", () => {
  const endless = batches([made(3, 1)], { batch: 2, seq: 8, seed: 0, epochs: Infinity });
  for (let i = 0; i < 5; i++) assertEquals(endless.next().value?.epoch, i);
  assertThrows(
    () => batches([made(10, 1)], { batch: 1, seq: 8, seed: 0, epochs: 1 }).next(),
    RangeError,
    "10 ids",
  );
  assertEquals([...batches([], { batch: 1, seq: 8, seed: 0, epochs: Infinity })], []);
});

Deno.test("batches: lengths are few, rising, and end with the longest", () => {
  assertEquals(bucketLengths(128), [32, 64, 96, 128]);
  assertEquals(bucketLengths(100), [32, 56, 80, 100]);
  assertEquals(bucketLengths(6), [6]);
  fc.assert(fc.property(fc.integer({ min: 1, max: 5000 }), (seq) => {
    const lengths = bucketLengths(seq);
    assert(
      lengths.length <= 4 && lengths.at(-1) === seq &&
        lengths.every((n, i) => i === 0 || n > lengths[i - 1]!),
    );
  }));
});

Deno.test("schedules: warm up to 1, then fall to 0 or stay", () => {
  const at = (name: ScheduleName, step: number): number => schedule(name, { warmup: 4, total: 14 })(step);
  assertEquals([0, 1, 3].map((s) => at("cosine", s)), [0.25, 0.5, 1]);
  assertEquals([4, 9, 14, 99].map((s) => Math.round(at("cosine", s) * 1e9) / 1e9), [1, 0.5, 0, 0]);
  assertEquals([4, 9, 14, 99].map((s) => at("linear", s)), [1, 0.5, 0, 0]);
  assertEquals([4, 99].map((s) => at("constant", s)), [1, 1]);
  assertEquals(schedule("linear", { warmup: 0, total: 1 })(0), 1);
  fc.assert(fc.property(fc.nat(50), fc.integer({ min: 1, max: 200 }), (warmup, more) => {
    const f = schedule("cosine", { warmup, total: warmup + more });
    for (let s = 0; s < warmup + more; s++) assert(f(s) > 0 && f(s) <= 1, `step ${s}: ${f(s)}`);
  }));
  assertEquals([warmupSteps(0.05, 200), warmupSteps(20, 200), warmupSteps(500, 200), warmupSteps(0, 9)], [
    10,
    20,
    200,
    0,
  ]);
});
