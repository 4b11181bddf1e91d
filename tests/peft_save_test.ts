/** Adapters that Gyre trained, written as directories of PEFT and read again. @module */
import { assert, assertEquals, assertThrows } from "@std/assert";
import { openCpu } from "../core/cpu/mod.ts";
import { loadConfig } from "../train/checkpoint.ts";
import { PeftError } from "../train/errors.ts";
import { modulesOf } from "../train/decoder.ts";
import { loadPeft } from "../train/peft/load.ts";
import { parseGyreFile } from "../train/peft/combine.ts";
import { savePeft } from "../train/peft/save.ts";
import { openOn, PEFT_MODELS, PEFT_SAMPLES, sampleBatch, trainAndSave } from "./peft_samples.ts";

for (const sample of PEFT_SAMPLES) {
  Deno.test(`PEFT ${sample.name}: what is trained and written is read as the same function, and trains on`, async () => {
    const parent = Deno.makeTempDirSync(), dir = `${parent}/adapter`;
    const { base, single } = sample;
    const config = loadConfig(`${PEFT_MODELS}/${base}`);
    const ids = [...sampleBatch(config.vocabSize, 1).ids];
    const device = await openCpu();
    try {
      const ours = await trainAndSave(device, sample, dir, ids);
      assertEquals([...Deno.readDirSync(parent)].map((e) => e.name), ["adapter"], "temporary files are left");
      assertEquals([...Deno.readDirSync(dir)].some((e) => e.name === "gyre.json"), !single);

      const loaded = loadPeft(dir, modulesOf(config), { training: true });
      const again = await openOn(device, base, loaded);
      const theirs = await again.logits(ids);
      const bare = await (await openOn(device, base, { placements: [] })).logits(ids);
      const gap = (xs: Float32Array): number => Math.max(...xs.map((x, i) => Math.abs(x - ours[i]!)));
      assert(gap(bare) > 0.1, "training changed nothing");
      assert(gap(theirs) <= 2e-5, `logits differ by ${gap(theirs)}`);

      const copy = `${parent}/copy`;
      savePeft(copy, {
        modules: modulesOf(config),
        trained: await again.trained(),
        base: null,
        ...loaded.layout,
      });
      assertEquals(contents(copy), contents(dir), "what is read and written at once is the same");

      const batch = sampleBatch(config.vocabSize, 2);
      const first = (await again.step(batch, { plain: 1e-3, orthogonal: 1e-3 })).loss;
      for (let i = 0; i < 3; i++) await again.step(batch, { plain: 1e-3, orthogonal: 1e-3 });
      assert((await again.evaluate([batch])).loss < first, "it does not train on");
      assertThrows(
        () => savePeft(dir, { ...emptyRequest(modulesOf(config)), trained: new Map() }),
        PeftError,
        "no adapter to save",
      );
    } finally {
      await device.close();
      Deno.removeSync(parent, { recursive: true });
    }
  });
}

/** All files below a directory, by path, as bytes in hexadecimal. */
function contents(dir: string, at = ""): Record<string, string> {
  return Object.assign(
    {},
    ...[...Deno.readDirSync(`${dir}${at}`)].map(({ name, isDirectory }) =>
      isDirectory
        ? contents(dir, `${at}/${name}`)
        : { [`${at}/${name}`]: Deno.readFileSync(`${dir}${at}/${name}`).toHex() }
    ),
  );
}

function emptyRequest(modules: ReturnType<typeof modulesOf>): Parameters<typeof savePeft>[1] {
  return { modules, trained: new Map(), branches: () => [], combine: null, base: null };
}

Deno.test("PEFT lora_patterns: ranks and alphas of single maps stay in one directory", async () => {
  const parent = Deno.makeTempDirSync(), device = await openCpu();
  try {
    const modules = modulesOf(loadConfig(`${PEFT_MODELS}/tied`));
    const from = `${PEFT_MODELS}/lora_patterns`, loaded = loadPeft(from, modules, { training: true });
    const session = await openOn(device, "tied", loaded);
    savePeft(`${parent}/again`, { modules, trained: await session.trained(), base: null, ...loaded.layout });
    const again = loadPeft(`${parent}/again`, modules, { training: true });
    assertEquals([...again.values].sort(), [...loaded.values].sort());
    assertEquals([...Deno.readDirSync(`${parent}/again`)].length, 2);
    const ids = [...sampleBatch(83, 1).ids];
    const logits = await (await openOn(device, "tied", again)).logits(ids);
    assertEquals(logits, await session.logits(ids));
  } finally {
    await device.close();
    Deno.removeSync(parent, { recursive: true });
  }
});

Deno.test("gyre.json: what is missing, unknown or leads elsewhere is refused by name", () => {
  const good = {
    format: "gyre-adapter",
    version: 1,
    combine: "mix",
    mix: {
      rule: "gradNormShare",
      space: "update",
      scope: "module",
      ema: 0.9,
      clamp: [0.05, 0.95],
      outermost: "last",
    },
    branches: [{ name: "a", directories: ["a"] }, { name: "b", directories: ["b-1", "b-2"] }],
    weights: { "m.q_proj": [0.25, 0.75] },
  };
  const parsed = parseGyreFile(good, "g.json");
  assertEquals(parsed.branches.map((b) => b.directories.length), [1, 2]);
  assertEquals(parsed.weights.get("m.q_proj"), [0.25, 0.75]);
  const wrong: readonly (readonly [object, string])[] = [
    [{ format: "other" }, 'format is "other"'],
    [{ version: 2 }, "version is 2"],
    [{ combine: "sum" }, 'combine is "sum"'],
    [{ branches: [] }, "branches is []"],
    [{ branches: [{ name: "a", directories: ["../a"] }] }, "branches is"],
    [{ weights: { a: ["x"] } }, "weights is"],
    [{ mix: { ...good.mix, space: "moon" } }, 'space is "moon"'],
    [{ mix: { ...good.mix, clamp: [1] } }, "clamp is [1]"],
    [{ mix: { ...good.mix, speed: 1 } }, "speed is 1"],
    [{ speed: 1 }, "speed is 1"],
  ];
  for (const [change, says] of wrong) {
    assertThrows(() => parseGyreFile({ ...good, ...change }, "g.json"), PeftError, says);
  }
});
