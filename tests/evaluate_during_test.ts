/** Evaluation while training goes on: what is measured when, that it changes nothing, and that the best state can be left. */
import { assert, assertEquals, assertStringIncludes, assertThrows } from "@std/assert";
import * as Effect from "effect/Effect";
import type { Device } from "../core/mod.ts";
import {
  evaluateModel,
  fineTune,
  OptionError,
  parseCommandLine,
  parseEvaluateFlags,
  type RunResult,
  UserError,
} from "../train/mod.ts";
import { openDevice } from "../train/devices.ts";
import { evaluationLine } from "../train/run_files.ts";
import { parseAsked } from "../train/evaluation/asked.ts";
import { checkpointSteps } from "../train/run_checkpoint.ts";
import { fineTuned, inTempDir, root } from "./runs.ts";

const HELD = `${root}/examples/data/eval.jsonl`;
const TINY = [
  ...["--device", "cpu", "--seq", "48", "--batch", "4", "--method", "lora", "--target", "q_proj,v_proj"],
  ...["--eval", HELD, "--eval-limit", "4"],
];

/** Lines of the metrics: those of steps, and those of evaluations, without what depends on the clock. */
function linesOf(out: string) {
  const all = Deno.readTextFileSync(`${out}/metrics.jsonl`).trimEnd().split("\n").map((line) => {
    const { seconds: _s, tokens_per_s: _t, ...rest } = JSON.parse(line);
    return rest;
  });
  const isStep = (line: object): boolean => "loss" in line;
  return { steps: all.filter(isStep), evaluations: all.filter((line) => !isStep(line)) };
}

async function done(out: string, argv: readonly string[], stop?: () => boolean): Promise<RunResult> {
  const { result } = await fineTuned(out, argv, stop);
  if (result instanceof UserError) throw result;
  return result;
}

const adapterOf = (out: string): Uint8Array => Deno.readFileSync(`${out}/adapter/adapter.safetensors`);

Deno.test("--eval: rows and tasks, files of a task together, and slips are named", () => {
  assertEquals(parseAsked(null), { rows: null, tasks: [] });
  assertEquals(parseAsked("held.jsonl"), { rows: "held.jsonl", tasks: [] });
  assertEquals(parseAsked("C:/data/x:y.jsonl").rows, "C:/data/x:y.jsonl");
  assertEquals(parseAsked("xnli:dev-sw.tsv,held.jsonl,glue/rte:RTE/dev.tsv,xnli:dev-ur.tsv"), {
    rows: "held.jsonl",
    tasks: [
      { name: "xnli", task: "xnli", subset: null, files: ["dev-sw.tsv", "dev-ur.tsv"] },
      { name: "glue/rte", task: "glue", subset: "rte", files: ["RTE/dev.tsv"] },
    ],
  });
  for (
    const [text, says] of [
      ["gms8k:f", "did you mean gsm8k"],
      ["glue/rt:f", "glue/rte"],
      ["glue:f", "glue/rte"],
      ["gsm8k/rte:f", "has no parts"],
      ["gsm8k:", "give a file after the colon"],
      ["mtbench:f", "needs a judge"],
      ["a.jsonl,b.jsonl", "a.jsonl and b.jsonl are files of rows"],
    ] as const
  ) {
    assertStringIncludes(assertThrows(() => parseAsked(text), OptionError).message, says, text);
  }
});

Deno.test("an evaluation's line: null is left out, what is not finite is a text", () => {
  assertEquals(evaluationLine({ step: 3, found: { loss: null, exact: null } }), '{"step":3}');
  assertEquals(
    evaluationLine({ step: 3, seconds: 1, found: { loss: Infinity, tasks: { a: { n: null } } } }),
    '{"step":3,"seconds":1,"held_out":{"loss":"Infinity"},"tasks":{"a":{"n":null}}}',
  );
});

Deno.test("measuring between steps changes no number, and a stopped run goes on to the same lines", () =>
  inTempDir(async (dir) => {
    const begun = [
      ...TINY.filter((x) => x !== "lora" && x !== "--method"),
      "--steps",
      "8",
      "--dropout",
      "0.1",
    ];
    const plain = await done(`${dir}/plain`, begun);
    const often = await done(`${dir}/often`, [...begun, "--eval-every", "3"]);
    assertEquals(adapterOf(`${dir}/often`), adapterOf(`${dir}/plain`));
    assertEquals([often.eval_after, often.exact_after], [plain.eval_after, plain.exact_after]);
    const { steps, evaluations } = linesOf(`${dir}/often`);
    assertEquals(steps, linesOf(`${dir}/plain`).steps);
    assertEquals(evaluations.map((e) => e.step), [0, 3, 6, 8]);
    assertEquals(evaluations[0].held_out, { loss: plain.eval_before, exact_match: plain.exact_before });
    assertEquals(Object.keys(evaluations[1].held_out), ["loss"]);
    assertEquals(evaluations[3].held_out.loss, plain.eval_after);

    const out = `${dir}/parts`;
    await done(
      out,
      [...begun, "--eval-every", "3", "--save-every", "2"],
      () => checkpointSteps(out).includes(6),
    );
    // An evaluation of a state that was lost is not of this run.
    const lost = evaluationLine({ step: 7, found: { loss: 1 } });
    Deno.writeTextFileSync(`${out}/metrics.jsonl`, `${lost}\n{"st`, { append: true });
    await done(out, ["--resume"]);
    assertEquals(linesOf(out), { steps, evaluations });
    assertEquals(adapterOf(out), adapterOf(`${dir}/plain`));
  }));

Deno.test("tasks of --eval come to what evaluate.ts finds with the adapter that was left", () =>
  inTempDir(async (dir) => {
    const asked = ["--eval", `gsm8k:${HELD}`, "--eval", `perplexity:${HELD}`, "--eval-every", "2"];
    const result = await done(`${dir}/run`, [...TINY, ...asked, "--steps", "4", "--lr", "1e-2"]);
    const { evaluations } = linesOf(`${dir}/run`);
    assertEquals(evaluations.map((e) => [e.step, Object.keys(e.tasks ?? {})]), [
      ...[0, 2, 4].map((step) => [step, ["gsm8k", "perplexity"]]),
      [4, []],
    ]);
    assertEquals(evaluations[2].tasks, result.tasks_after);
    assertEquals(evaluations[0].tasks, result.tasks_before);
    for (const task of ["gsm8k", "perplexity"]) {
      const argv = ["--task", task, "--data", HELD, "--limit", "4", "--device", "cpu"];
      const flags = parseEvaluateFlags([...argv, "--adapter", `${dir}/run/adapter`], { root });
      const quiet = (): void => {};
      const found = await Effect.runPromise(evaluateModel(flags, { say: quiet, follow: quiet }));
      assertEquals(found.metrics, result.tasks_after![task], task);
    }
    const [events] = [...Deno.readDirSync(`${dir}/run`)].filter(({ name }) => name.includes("tfevents"));
    assertStringIncludes(Deno.readTextFileSync(`${dir}/run/${events!.name}`), "gsm8k/exact_match");
    assertStringIncludes(Deno.readTextFileSync(`${dir}/run/report.html`), "<h3>gsm8k exact match</h3>");
  }));

Deno.test("tasks that do not fit beside the steps are refused before anything is uploaded", () =>
  inTempDir(async (dir) => {
    const argv = [...TINY.slice(0, -4), "--steps", "1"];
    const runIn = async (bytes: number | null, name: string, ...asked: string[]) => {
      let uploads = 0;
      const options = await parseCommandLine([...argv, ...asked, "--out", `${dir}/${name}`], {
        root,
        now: new Date(),
      });
      const open: typeof openDevice = (...args) =>
        Effect.map(openDevice(...args), (device): Device =>
          new Proxy(device, {
            get: (own, key: keyof Device) => {
              if (key === "capabilities") return { ...own.capabilities, maxTotalBytes: bytes };
              if (key === "upload") uploads++;
              const value = own[key];
              return typeof value === "function" ? value.bind(own) : value;
            },
          }));
      const result = await Effect.runPromise(
        Effect.match(fineTune(options, { say: () => {}, stopped: () => false, open }), {
          onFailure: (error) => error,
          onSuccess: (value) => value,
        }),
      );
      return { result, uploads };
    };
    const gsm8k = ["--eval", `gsm8k:${HELD}`, "--eval-limit", "24"],
      none = ["--eval", HELD, "--eval-limit", "1"];
    const plain = (await runIn(null, "plain", ...none)).result;
    const whole = (await runIn(null, "whole", ...gsm8k)).result;
    assert(!(plain instanceof UserError) && !(whole instanceof UserError), `${plain} ${whole}`);
    const between = (plain.peak_bytes + whole.peak_bytes) / 2;
    assert(whole.peak_bytes > 1.2 * plain.peak_bytes, `${plain.peak_bytes}, ${whole.peak_bytes}`);
    const { result, uploads } = await runIn(between, "refused", ...gsm8k);
    assert(result instanceof UserError, "it was begun");
    assertStringIncludes(result.message, "The run needs ");
    assertStringIncludes(result.message, "; then fewer rows of the tasks that --eval names");
    assertEquals(uploads, 0);
    assert(!((await runIn(between, "fits", ...none)).result instanceof UserError));
  }));

Deno.test("--keep-best leaves the state with the least held-out loss, and the run still goes on from its last one", () =>
  inTempDir(async (dir) => {
    const out = `${dir}/run`;
    // A rate at which the loss rises again.
    const flags = [
      ...TINY,
      "--lr",
      "6e-2",
      "--schedule",
      "constant",
      "--warmup",
      "0",
      "--eval-every",
      "1",
      "--save-every",
      "2",
    ];
    const { result, said } = await fineTuned(out, [...flags, "--keep-best", "--steps", "6", "--merge"]);
    assert(!(result instanceof UserError), String(result));
    const held = linesOf(out).evaluations.filter((e) => e.step > 0 && "loss" in e.held_out);
    assertEquals(held.map((e) => e.step), [1, 2, 3, 4, 5, 6]);
    const best = held.reduce((a, b) => b.held_out.loss < a.held_out.loss ? b : a);
    assert(best.step < 6, JSON.stringify(held));
    assertEquals([result.best_step, result.steps, result.eval_after], [best.step, 6, best.held_out.loss]);
    assertStringIncludes(said, `at step ${best.step}: what follows is of its state`);
    const next = await done(`${dir}/next`, [
      ...TINY.slice(0, 6),
      ...TINY.slice(-4),
      "--adapter",
      `${out}/adapter`,
      "--steps",
      "1",
    ]);
    assertEquals(next.eval_before, best.held_out.loss);
    assertEquals(checkpointSteps(out).at(-1), 6);
    const more = await done(out, ["--resume", "--steps", "7"]);
    assertEquals([more.best_step, more.eval_after, linesOf(out).steps.length], [
      best.step,
      best.held_out.loss,
      7,
    ]);
    const straight = await done(`${dir}/straight`, [...flags, "--steps", "7"]);
    assertEquals(linesOf(out).steps, linesOf(`${dir}/straight`).steps);
    assert(straight.eval_after! > best.held_out.loss);
  }));

Deno.test("held-out prompts that fill a sequence are told of, and count as not answered", async () => {
  await inTempDir(async (dir) => {
    const rows = Array.from(
      { length: 48 },
      (_, i) => ({ question: "Tom has 38 balls. ".repeat(i + 1), answer: "#### 5" }),
    );
    const file = `${dir}/held.jsonl`;
    Deno.writeTextFileSync(file, rows.map((row) => JSON.stringify(row)).join("\n"));
    // Somewhere among these lengths a prompt is as long as the sequence: nothing can be generated after it.
    const argv = [...TINY.slice(0, -4), "--eval", file, "--steps", "1"];
    for (let seq = 48; seq < 72; seq++) {
      const { result, said } = await fineTuned(`${dir}/${seq}`, [...argv, "--seq", String(seq)]);
      if (result instanceof UserError) throw result;
      if (!said.includes("leave no room")) continue;
      const { before } = JSON.parse(Deno.readTextFileSync(`${dir}/${seq}/samples.json`));
      assert(before.some((s: { generated: string }) => s.generated === ""));
      return;
    }
    throw new Error("No sequence was filled by a prompt.");
  });
});
