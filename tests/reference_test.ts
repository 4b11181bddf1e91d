/** Real checkpoints against logits and greedy texts that were computed independently in float64. @module */
import { assert, assertEquals } from "@std/assert";
import { openCpu } from "../core/cpu/mod.ts";
import { loadCheckpoint } from "../train/checkpoint.ts";
import { weightShapes } from "../train/decoder.ts";
import { adamW } from "../train/optimiser.ts";
import { openSession } from "../train/session.ts";
import { loadTokenizer } from "../train/tokenizer.ts";

interface Reference {
  readonly cases: readonly {
    readonly prompt: string;
    readonly input_ids: readonly number[];
    readonly greedy_new_ids: readonly number[];
    readonly [key: string]: unknown;
  }[];
}

const models = new URL("../../shared/data/models/", import.meta.url);

for (const name of ["stories260K", "aidreams260K"]) {
  const dir = decodeURIComponent(new URL(name, models).pathname);
  const there = await Deno.stat(dir).then(() => true, () => false);
  if (!there) console.log(`skipped: reference of ${name}, since ../shared/data/models is not here`);
  Deno.test(
    { name: `${name}: ids, logits and greedy tokens are those of the reference`, ignore: !there },
    async () => {
      const { cases } = JSON.parse(Deno.readTextFileSync(`${dir}/reference.json`)) as Reference;
      const tokenizer = loadTokenizer(dir);
      const { config, weights } = loadCheckpoint(dir, { dtype: "f32", shapes: weightShapes });
      const device = await openCpu();
      try {
        const session = await openSession({
          device,
          subject: { config, classes: [] },
          weights,
          optimiser: adamW({ clip: 0 }),
          accumulate: 1,
          seed: 0,
          maxLength: 128,
        });
        for (const item of cases) {
          assertEquals(tokenizer.encode(item.prompt), [...item.input_ids], item.prompt);
          const all = await session.logits(item.input_ids);
          const last = all.subarray((item.input_ids.length - 1) * config.vocabSize);
          const key = Object.keys(item).find((k) => k.includes("logits"))!;
          const worst = Math.max(...(item[key] as number[]).map((v, i) => Math.abs(v - last[i]!)));
          assert(worst <= 1e-4, `${item.prompt}: logits differ by ${worst}`);
          const [greedy] = await session.generate([item.input_ids], item.greedy_new_ids.length, -1);
          assertEquals(greedy, [...item.greedy_new_ids], item.prompt);
        }
      } finally {
        await device.close();
      }
    },
  );
}
