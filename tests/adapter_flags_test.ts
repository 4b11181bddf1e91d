/** Flags beside `--adapter`: its settings stand, none is asked for in vain. @module */
import { assertEquals, assertRejects } from "@std/assert";
import { OptionError, parseCommandLine, type TrainOptions, unusedFlags } from "../train/mod.ts";
import { saveAdapter } from "../train/adapter_directory.ts";
import { decoderLayout } from "../train/methods.ts";
import { loadConfig } from "../train/checkpoint.ts";
import { parseOptions } from "../train/options.ts";
import { inTempDir, root } from "./runs.ts";

const SITE = { root, now: new Date("2025-03-04T05:06:07Z") };
const BASE = `${root}/examples/base`;

/** Use an adapter as a run with these flags describes it, and a directory of PEFT. */
function withAdapters(
  argv: readonly string[],
  use: (ask: (...argv: string[]) => Promise<TrainOptions>, dir: string) => Promise<void>,
): Promise<void> {
  return inTempDir(async (dir) => {
    const layout = decoderLayout(loadConfig(BASE));
    const saved = { model: BASE, layout, classes: [], trained: new Map() };
    saveAdapter(`${dir}/own`, parseOptions(argv, SITE), saved);
    Deno.mkdirSync(`${dir}/peft`);
    Deno.writeTextFileSync(`${dir}/peft/adapter_config.json`, JSON.stringify({ peft_type: "LORA", r: 8 }));
    await use((...more) => parseCommandLine(more, SITE), dir);
  });
}

async function refusal(asked: Promise<TrainOptions>): Promise<string> {
  return (await assertRejects(() => asked, OptionError)).message.replaceAll(/\S*\/(?=\w+[ ,:])/g, "");
}

Deno.test("adapter: its settings stand, with the defaults that follow from them", () =>
  withAdapters(["--method", "lora", "--rank", "4", "--target", "q_proj"], async (ask, dir) => {
    const { method, rank, alpha, target, out, lr, model } = await ask("--adapter", `${dir}/own`);
    assertEquals([method, rank, alpha, target, model], ["lora", 4, 8, "q_proj", BASE]);
    const fresh = parseOptions(["--method", "lora"], SITE);
    assertEquals([out, lr], [fresh.out, fresh.lr]);
    // What it has anyway may be said.
    const same = await ask("--adapter", `${dir}/own`, "--method", "lora", "--rank=4", "--alpha", "8");
    assertEquals(same, await ask("--adapter", `${dir}/own`));
  }));

Deno.test("adapter: an expression stands too", () =>
  withAdapters(["--compose", "on(attn, dora(r=4))", "--save-modules", "norm"], async (ask, dir) => {
    const { method, compose, saveModules } = await ask("--adapter", `${dir}/own`);
    assertEquals([method, compose, saveModules], ["compose", "on(attn, dora(r=4))", "norm"]);
    assertEquals(
      await refusal(ask("--adapter", `${dir}/own`, "--method", "lora")),
      "--method is lora beside --adapter own, which was made with compose: leave out --method to go on with it, or " +
        "--adapter to begin anew.",
    );
  }));

Deno.test("adapter: flags that would make it another are refused, the default too where it was typed", () =>
  withAdapters(["--method", "lora", "--rank", "4"], async (ask, dir) => {
    const end = (name: string): string => `: leave out ${name} to go on with it, or --adapter to begin anew.`;
    const own = ["--adapter", `${dir}/own`], peft = ["--adapter", `${dir}/peft`, "--model", BASE];
    const cases: readonly (readonly [readonly string[], string])[] = [
      [[...own, "--rank", "8"], "--rank is 8 beside --adapter own, which was made with 4"],
      [[...own, "--method=hybrid"], "--method is hybrid beside --adapter own, which was made with lora"],
      [
        [...own, "--target", "v_proj"],
        "--target is v_proj beside --adapter own, which was made with all-linear",
      ],
      [[...own, "--block", "4"], "--block is 4 beside --adapter own, which was made by lora without it"],
      [[...own, "--row-scale"], "--row-scale beside --adapter own, which was made by lora without it"],
      [
        [...own, "--compose", "dora"],
        "--compose is dora beside --adapter own, which was made by lora without it",
      ],
      [
        [...own, "--start-batches", "2"],
        "--start-batches is 2 beside --adapter own, which does not start anew",
      ],
      [
        [...peft, "--rank", "8"],
        "--rank is 8 beside --adapter peft, a directory of Hugging Face PEFT, whose files say what it is",
      ],
    ];
    for (const [argv, says] of cases) {
      assertEquals(await refusal(ask(...argv)), says + end(/--[a-z-]+/.exec(says)![0]));
    }
    assertEquals((await ask(...peft)).model, BASE);
  }));

Deno.test("adapter: a file of flags may name the adapter's settings and defaults, nothing else", () =>
  withAdapters(["--method", "lora", "--rank", "4"], async (ask, dir) => {
    const file = `${dir}/flags.json`, asked = ["--adapter", `${dir}/own`, "--config", file];
    const write = (flags: unknown): void => Deno.writeTextFileSync(file, JSON.stringify(flags));
    const { config: _, ...alone } = await ask("--adapter", `${dir}/own`);
    for (const argv of [[], ["--method", "lora", "--rank", "4"]]) {
      // What the config.json of a run says; lr and out are those of its method.
      const { adapter: _, config: _none, lr: _lr, orthogonalLr: _rate, out: _out, ...flags } = parseOptions(
        argv,
        SITE,
      );
      write(flags);
      const { config: _config, ...found } = await ask(...asked);
      assertEquals(found, alone);
    }
    write({ rank: 16, adapter: `${dir}/own` });
    assertEquals(
      await refusal(ask("--config", file)),
      "--rank is 16 in " +
        `${file} beside --adapter own, which was made with 4: leave out --rank to go on with it, ` +
        "or --adapter to begin anew.",
    );
    await assertRejects(() => ask(...asked, "--method", "boft"), OptionError, "--method is boft beside");
  }));

Deno.test("adapter: settings that the method does not use are told where they were typed", () => {
  const told = (...argv: string[]): string | null => unusedFlags(parseOptions(argv, SITE), argv);
  assertEquals(
    told("--method", "lora", "--block", "4", "--rank=4", "--row-scale"),
    "note: --method lora does not use --block, --row-scale",
  );
  assertEquals(told("--method=full", "--rank", "4"), "note: --method full does not use --rank");
  assertEquals(told("--method", "boft", "--block", "4"), null);
  assertEquals(told("--compose", "lora", "--block", "4"), null);
});
