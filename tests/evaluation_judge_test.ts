/** MT-Bench: dialogues in two turns, a judge over HTTP, what its replies mean. @module */
import { assert, assertEquals, assertStringIncludes, assertThrows } from "@std/assert";
import * as fc from "fast-check";
import { DataError, OptionError } from "../train/errors.ts";
import { openJudge } from "../train/evaluation/judge.ts";
import {
  compareMessages,
  parseScore,
  parseVerdict,
  scoreMessages,
} from "../train/evaluation/judge_prompts.ts";
import { comparisonOf } from "../train/evaluation/judgements.ts";
import { parseAnswers, parseQuestions, requireAnswers } from "../train/evaluation/mtbench_files.ts";
import { parseEvaluateFlags } from "../train/evaluation/options.ts";
import type { Evaluation } from "../train/evaluation/run.ts";
import { readText } from "../train/data/text_file.ts";
import { runProgramFile, sharedData } from "./evaluation_examinee.ts";

interface Asked {
  readonly model: string;
  readonly messages: readonly { readonly role: string; readonly content: string }[];
}

/** What a judge's endpoint answers to a request: a status and a text; the n-th request of all, from 0. */
type Answering = (asked: Asked, n: number, request: Request) => Response | Promise<Response>;

function saying(content: string): Response {
  return Response.json({ choices: [{ message: { role: "assistant", content } }] });
}

/** Serve an endpoint on this machine while `use` runs. */
async function served<T>(answer: Answering, use: (url: string, asked: Asked[]) => Promise<T>): Promise<T> {
  const asked: Asked[] = [];
  const server = Deno.serve({ hostname: "127.0.0.1", port: 0, onListen: () => {} }, async (request) => {
    const body = await request.json() as Asked;
    asked.push(body);
    return await answer(body, asked.length - 1, request);
  });
  try {
    return await use(`http://127.0.0.1:${server.addr.port}/v1`, asked);
  } finally {
    await server.shutdown();
  }
}

const HELLO = [{ role: "user", content: "Hello" }];

Deno.test("judge: a request holds model, messages and key, and is made again where it may succeed", async () => {
  const seen: string[] = [];
  await served((_, n, request) => {
    seen.push(`${request.method} ${new URL(request.url).pathname} ${request.headers.get("authorization")}`);
    if (n === 0) return new Response("later", { status: 429, headers: { "retry-after": "0" } });
    return n === 1 ? new Response("broken", { status: 503 }) : saying("Score: 4");
  }, async (url, asked) => {
    const judge = openJudge({ url, model: "m", key: "secret", pause: 0.01 });
    assertEquals(await judge(HELLO), { kind: "said", text: "Score: 4" });
    assertEquals(asked.map((a) => [a.model, a.messages]), Array(3).fill(["m", HELLO]));
    assertEquals(seen, Array(3).fill("POST /v1/chat/completions Bearer secret"));
    const without = openJudge({ url: `${url}/chat/completions/`, model: "m", key: null });
    assertEquals((await without(HELLO)).kind, "said");
    assertEquals(seen[3], "POST /v1/chat/completions null");
  });
});

Deno.test("judge: what fails says why, and hopeless requests are not repeated", async () => {
  const failing = (answer: Answering, seconds = 5) =>
    served(answer, async (url, asked) => {
      const judge = openJudge({ url, model: "m", key: null, pause: 0.01, seconds });
      const replies = [await judge(HELLO), await judge(HELLO)];
      return { why: replies.map((r) => r.kind === "failed" ? r.why : "said"), requests: asked.length };
    });
  const denied = await failing(() => new Response(`{"error":\n"no key"}`, { status: 401 }));
  assertEquals(denied, { why: Array(2).fill(`status 401: {"error": "no key"}`), requests: 1 });
  const bad = await failing(() => new Response("bad", { status: 400 }));
  assertEquals(bad, { why: Array(2).fill("status 400: bad"), requests: 2 });
  const broken = await failing(() => new Response("x".repeat(1000), { status: 500 }));
  assertEquals([broken.requests, broken.why[0]!.length], [6, "status 500: ".length + 200]);
  for (
    const body of [
      "not JSON",
      "{}",
      `{"choices":[]}`,
      `{"choices":[{"message":{"content":null}}]}`,
      "[]",
      "null",
    ]
  ) {
    const { why, requests } = await failing(() => new Response(body));
    assertEquals([why[0], requests], ["the reply holds no choices[0].message.content", 2], body);
  }
  const slow = await failing(async () => {
    await new Promise((resume) => setTimeout(resume, 300));
    return saying("late");
  }, 0.05);
  assertEquals([slow.why[0], slow.requests], ["no answer within 0.05 s", 6]);
  const nobody = Deno.listen({ hostname: "127.0.0.1", port: 0 });
  const { port } = nobody.addr;
  nobody.close();
  const gone = await openJudge({ url: `http://127.0.0.1:${port}`, model: "m", key: null, pause: 0.01 })(
    HELLO,
  );
  assert(gone.kind === "failed" && gone.why.startsWith("no connection"), JSON.stringify(gone));
  for (const url of ["nowhere", "file:///etc/passwd", ""]) {
    assertThrows(() => openJudge({ url, model: "m", key: null }), OptionError, "--judge-url is");
  }
});

Deno.test("judge: scores and verdicts are those of the last line that has one", () => {
  const scores: [string, number | null][] = [
    ["Good.\nScore: 7", 7],
    ["Score: 3 at first sight.\nBut no.\n**Score: 9/10**", 9],
    ["score: [[8.5]]", 8.5],
    ["Score: 11", null],
    ["Score: 0", null],
    ["Score: 100", null],
    ["Score: N", null],
    ["Seven of ten.", null],
    ["", null],
  ];
  for (const [reply, score] of scores) assertEquals(parseScore(reply), score, reply);
  const verdicts: [string, "A" | "B" | "tie" | null][] = [
    ["Verdict: A", "A"],
    ["verdict: **b**.", "B"],
    ["Verdict: A? No.\nVerdict: tie", "tie"],
    ["Verdict: Both", null],
    ["A is better", null],
  ];
  for (const [reply, verdict] of verdicts) assertEquals(parseVerdict(reply), verdict, reply);
  fc.assert(fc.property(fc.string(), fc.integer({ min: 1, max: 10 }), (text, n) => {
    assertEquals(parseScore(`${text}\nScore: ${n}\n`), n);
    assertEquals(parseVerdict(`${text}\nVerdict: B`), "B");
  }));
  const all = (["A", "B", "tie"] as const).flatMap((a) =>
    (["A", "B", "tie"] as const).map((b) => comparisonOf(a, b))
  );
  assertEquals(all, ["unsure", "win", "unsure", "loss", "unsure", "unsure", "unsure", "unsure", "tie"]);
});

Deno.test("judge: it sees the dialogue up to the answer in question, and what is known to be right", () => {
  const own = { questions: ["Q1", "Q2"], answers: ["first", " "], references: ["R1"] };
  const [system, user] = scoreMessages(own).map((m) => m.content) as [string, string];
  assertStringIncludes(system, "Score: N");
  for (const text of ["Q1", "first", "Q2", "(There is no answer.)", "R1"]) assertStringIncludes(user, text);
  const compared = compareMessages(own, { ...own, answers: ["other", "more"] })[1]!.content;
  assert(
    compared.indexOf("first") < compared.indexOf("Dialogue with B") &&
      compared.indexOf("other") > compared.indexOf("Dialogue with B"),
  );
});

Deno.test("mtbench: broken files are named", () => {
  const question = { question_id: 1, category: "c", turns: ["a", "b"] };
  const parse = (...rows: object[]) =>
    parseQuestions(rows.map((r) => JSON.stringify(r)).join("\n"), "q.jsonl");
  const answers = (text: string) => requireAnswers(parseAnswers(text, "a.jsonl"), parse(question), "a.jsonl");
  assertEquals([...answers(`{"question_id":1,"choices":[{"turns":["x","y"]}]}`)], [[1, ["x", "y"]]]);
  const wrong: [() => unknown, string][] = [
    [
      () => parse(question, { ...question, turns: [] }),
      `q.jsonl:2: expected {"question_id", "category", "turns"}`,
    ],
    [
      () => parse({ ...question, question_id: "1" }),
      `q.jsonl:1: question_id is "1"; expected a whole number`,
    ],
    [() => parse(), "q.jsonl: has no questions"],
    [() => answers(`{"question_id":1,"choices":[]}`), `a.jsonl:1: expected {"question_id", "choices"`],
    [
      () => answers(`{"question_id":1,"choices":[{"turns":["x"]}]}`),
      "a.jsonl: has 1 answers to question 1, which has 2 turns",
    ],
    [() => answers(`{"question_id":2,"choices":[{"turns":["x"]}]}`), "a.jsonl: has 0 answers to question 1"],
  ];
  for (const [act, message] of wrong) assertThrows(act, DataError, message);
  const flags = (...argv: string[]) => () =>
    parseEvaluateFlags(["--task", "mtbench", "--data", "q", ...argv], { root: "" });
  assertThrows(flags("--judge-url", "http://x"), OptionError, "give --judge-model too");
  assertThrows(flags(), OptionError, "--task mtbench without a judge only writes answers");
});

const published = sharedData("mtbench/question.jsonl"),
  known = sharedData("mtbench/reference_answer/gpt-4.jsonl");
Deno.test({
  name: "mtbench: the published files are read whole",
  ignore: published === null || known === null,
}, () => {
  const questions = parseQuestions(readText(published!), published!),
    answers = parseAnswers(readText(known!), known!);
  assertEquals([questions.length, answers.size], [80, 30]);
  assert(
    questions.every((q) => q.turns.length === 2) &&
      [...answers.keys()].every((id) => questions.some((q) => q.id === id)),
  );
});

Deno.test("mtbench: answers are written, scored, compared; failures are counted, and nothing is lost", async () => {
  const dir = await Deno.makeTempDir();
  try {
    const questions = [1, 2].map((id) => ({
      question_id: id,
      category: id === 1 ? "math" : "writing",
      turns: [`What is ${id}+${id}?`, "And twice that?"],
    }));
    Deno.writeTextFileSync(`${dir}/questions`, questions.map((q) => JSON.stringify(q)).join("\n"));
    Deno.writeTextFileSync(`${dir}/known`, `{"question_id":1,"choices":[{"turns":["two","four"]}]}`);
    const asked = ["--task", "mtbench", "--data", `${dir}/questions`, "--max-new", "12", "--json"];
    const rows = (name: string) =>
      Deno.readTextFileSync(`${dir}/${name}`).trim().split("\n").map((line) =>
        JSON.parse(line) as {
          readonly question_id: number;
          readonly choices: readonly { readonly turns: readonly string[] }[];
          readonly judgements: readonly {
            readonly turn: number;
            readonly result: unknown;
            readonly why: string | null;
          }[];
        }
      );
    const written = await runProgramFile("evaluate.ts", ...asked, "--out", `${dir}/answers`);
    assertEquals(written.code, 0, written.err);
    assertEquals(rows("answers").map((r) => r.choices[0]!.turns.length), [2, 2]);

    // Scores 6, 8, and a reply without a score; a second turn that the endpoint refuses.
    const scored = await served(({ messages }) => {
      const text = messages[1]!.content, second = text.includes("And twice that?");
      if (text.includes("1+1")) return second ? saying("Score: 8") : saying("Fine.\nScore: 6");
      return second ? new Response("no", { status: 400 }) : saying("Cannot say.");
    }, async (url, requests) => {
      const judge = ["--judge-url", url, "--judge-model", "judge", "--references", `${dir}/known`];
      const end = await runProgramFile(
        "evaluate.ts",
        ...asked,
        ...judge,
        "--answers",
        `${dir}/answers`,
        "--out",
        `${dir}/scored`,
      );
      assertEquals(end.code, 0, end.err);
      assertEquals(requests.length, 4);
      assertEquals(requests.filter((r) => r.messages[1]!.content.includes("[to question 1]\ntwo")).length, 2);
      return JSON.parse(end.out) as Evaluation;
    });
    assertEquals(scored.metrics, { questions: 2, score: 7, judged: 2, failed: 2 });
    assertEquals(Object.fromEntries(scored.parts.map((p) => [p.name, p.metrics])), {
      "turn 1": { score: 6, judged: 1, failed: 1 },
      "turn 2": { score: 8, judged: 1, failed: 1 },
      math: { score: 7, judged: 2, failed: 0 },
      writing: { score: null, judged: 0, failed: 2 },
    });
    assertStringIncludes(scored.notes.join("\n"), "1 judgements failed: a reply holds no line with a score");
    assertStringIncludes(scored.notes.join("\n"), "1 judgements failed: status 400: no");
    assertEquals(rows("scored")[0]!.judgements.map((j) => j.result), [6, 8]);

    // A judge that always holds the first for better contradicts itself; one that knows an answer does not.
    Deno.writeTextFileSync(
      `${dir}/other`,
      questions.map(({ question_id }) =>
        JSON.stringify({ question_id, choices: [{ turns: [`known ${question_id}`, "more"] }] })
      ).join("\n"),
    );
    const compared = await served(({ messages }) => {
      const text = messages[1]!.content;
      if (text.includes("1+1")) return saying("Verdict: A");
      return saying(text.indexOf("known 2") < text.indexOf("Dialogue with B") ? "Verdict: A" : "Verdict: B");
    }, async (url) => {
      const end = await runProgramFile(
        "evaluate.ts",
        ...[...asked, "--judge-url", url, "--judge-model", "judge"],
        ...["--answers", `${dir}/answers`, "--against", `${dir}/other`],
      );
      assertEquals(end.code, 0, end.err);
      return (JSON.parse(end.out) as Evaluation).metrics;
    });
    assertEquals(compared, {
      questions: 2,
      win_rate: 0.25,
      wins: 0,
      losses: 2,
      ties: 0,
      unsure: 2,
      judged: 4,
      failed: 0,
    });

    const refused = await served(
      () => new Response("no key", { status: 401 }),
      (url) =>
        runProgramFile(
          "evaluate.ts",
          ...asked,
          "--judge-url",
          url,
          "--judge-model",
          "j",
          "--out",
          `${dir}/refused`,
        ),
    );
    assertEquals([refused.code, refused.out], [2, ""]);
    assertStringIncludes(
      refused.err,
      "no judgement succeeded: status 401: no key; --answers with what --out wrote",
    );
    assertEquals(rows("refused").map((r) => r.choices), rows("answers").map((r) => r.choices));
  } finally {
    await Deno.remove(dir, { recursive: true });
  }
});

Deno.test("mtbench: the second turn is asked after the first and its answer", async () => {
  const dir = await Deno.makeTempDir();
  try {
    Deno.writeTextFileSync(
      `${dir}/q`,
      JSON.stringify({ question_id: 7, category: "c", turns: ["2+2", "3+3"] }),
    );
    const end = await runProgramFile(
      "evaluate.ts",
      "--task",
      "mtbench",
      "--data",
      `${dir}/q`,
      "--max-new",
      "8",
      "--out",
      `${dir}/out`,
    );
    assertEquals(end.code, 0, end.err);
    const [first, second] =
      (JSON.parse(Deno.readTextFileSync(`${dir}/out`)) as { choices: [{ turns: [string, string] }] })
        .choices[0].turns;
    const rows = [
      { messages: [{ role: "user", content: "2+2" }] },
      {
        messages: [{ role: "user", content: "2+2" }, { role: "assistant", content: first }, {
          role: "user",
          content: "3+3",
        }],
      },
    ];
    Deno.writeTextFileSync(`${dir}/prompts`, rows.map((r) => JSON.stringify(r)).join("\n"));
    const { out } = await runProgramFile(
      "generate.ts",
      "--prompts",
      `${dir}/prompts`,
      "--max-new",
      "8",
      "--json",
    );
    const texts = out.trim().split("\n").map((line) => (JSON.parse(line) as { text: string }).text.trim());
    assertEquals(texts, [first, second]);
  } finally {
    await Deno.remove(dir, { recursive: true });
  }
});
