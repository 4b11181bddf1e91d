/** Adapters say which model they belong to: programs take it where no other is given. @module */
import { assert, assertEquals, assertRejects, assertStringIncludes } from "@std/assert";
import * as Effect from "effect/Effect";
import { askedModel } from "../train/asked_model.ts";
import {
  evaluateModel,
  type Generated,
  generateTexts,
  parseEvaluateFlags,
  parseGenerateFlags,
  UserError,
} from "../train/mod.ts";
import { modelDirectory } from "../train/hub.ts";
import { changedModel, fineTuned, inTempDir, root } from "./runs.ts";

Deno.test("an adapter's own model is taken where none is given", () =>
  inTempDir(async (dir) => {
    const model = changedModel(`${dir}/other`, "model.norm.weight", (data) => data.fill(0.5));
    const flags = ["--device", "cpu", "--seq", "32", "--method", "lora", "--eval", "none", "--steps", "1"];
    const { result } = await fineTuned(`${dir}/run`, ["--model", model, ...flags]);
    assert(!(result instanceof UserError), String(result));
    const adapter = `${dir}/run/adapter`;

    const generate = async (...argv: string[]) => {
      const said: string[] = [], texts: Generated[] = [];
      const asked = ["--prompt", "Tom has", "--max-new", "8", "--device", "cpu", ...argv];
      await Effect.runPromise(
        generateTexts(parseGenerateFlags(asked, { root }), {
          say: (line) => said.push(line),
          result: (answer) => texts.push(answer),
        }),
      );
      return { said: said.join("\n"), text: texts[0]!.text };
    };
    const own = await generate("--adapter", adapter);
    assertStringIncludes(own.said, `model: ${model}, which ${adapter} belongs to`);
    const given = await generate("--adapter", adapter, "--model", model);
    assertEquals(own.text, given.text);
    assert(!given.said.includes("belongs to"));
    // Without an adapter it is the bundled model, as ever.
    assertEquals(parseGenerateFlags(["--prompt", "a"], { root }).model, `${root}/examples/base`);

    const quiet = (): void => {};
    const data = ["--task", "perplexity", "--data", `${root}/examples/data/eval.jsonl`, "--limit", "4"];
    const evaluate = (...argv: string[]) =>
      Effect.runPromise(
        evaluateModel(parseEvaluateFlags([...data, "--device", "cpu", ...argv], { root }), {
          say: quiet,
          follow: quiet,
        }),
      );
    const found = await evaluate("--adapter", adapter);
    assertEquals(found.model, model);
    assertEquals(found.metrics, (await evaluate("--adapter", adapter, "--model", model)).metrics);

    // Training goes on with it too, and --resume with what the run was begun with.
    const next = await fineTuned(`${dir}/next`, [
      "--adapter",
      adapter,
      ...flags.slice(0, 4),
      ...flags.slice(6),
    ]);
    assert(!(next.result instanceof UserError), String(next.result));
    assertStringIncludes(next.said, `model: ${model}, `);
    const more = await fineTuned(`${dir}/next`, ["--resume", "--steps", "2"]);
    assert(!(more.result instanceof UserError), String(more.result));
    assertStringIncludes(more.said, `model: ${model}, `);

    for (
      const [what, says] of [
        [`${dir}/run`, `${dir}/run: is a run; its adapter is ${adapter}.`],
        [`${dir}/other`, "is no adapter"],
        [`${dir}/run/adaptre`, `did you mean ${adapter}?`],
      ] as const
    ) {
      await assertRejects(() => generate("--adapter", what), UserError, says);
    }
    Deno.renameSync(model, `${dir}/moved`);
    await assertRejects(
      () => generate("--adapter", adapter),
      UserError,
      `${adapter}: belongs to ${model}, which is no directory here; give --model DIR.`,
    );
  }));

Deno.test("a model's file is no model: its directory is asked for", async () => {
  const file = `${root}/examples/base/model.safetensors`;
  await assertRejects(() => modelDirectory(file, { say: () => {} }), UserError, `--model ${file}: is a file`);
  assertEquals(askedModel({ model: file, adapter: "a" }), { model: file });
});
