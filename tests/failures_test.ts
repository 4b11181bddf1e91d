/** Runs that cannot go on: numbers that are not finite, two in one place, full disks, devices that go away. @module */
import { assert, assertEquals, assertMatch, assertStringIncludes } from "@std/assert";
import { openGpu } from "../core/gpu/mod.ts";
import { type RunResult, UserError } from "../train/mod.ts";
import { checkpointSteps } from "../train/run_checkpoint.ts";
import { changedModel, fineTuned, inTempDir, root, type TestRun } from "./runs.ts";

const TINY = [
  "--device",
  "cpu",
  "--eval",
  "none",
  "--seq",
  "32",
  "--batch",
  "2",
  "--target",
  "q_proj,up_proj",
];

function refused({ result }: TestRun): string {
  assert(result instanceof UserError, "the run was not refused");
  return result.message;
}

function done({ result }: TestRun): RunResult {
  assert(!(result instanceof UserError), String(result));
  return result;
}

Deno.test("a loss that is not finite ends the run with the step, the rows and where it began", () =>
  inTempDir(async (dir) => {
    const weight = "model.layers.1.mlp.gate_proj.weight";
    const bad = changedModel(`${dir}/nan`, weight, (w) => w[3] = NaN);
    const message = refused(
      await fineTuned(`${dir}/a`, [...TINY, "--method", "lora", "--model", bad, "--steps", "2"]),
    );
    assertMatch(
      message,
      /^step 1: the loss is NaN on \S+train\.jsonl:\d+, \S+train\.jsonl:\d+; not finite first was/,
    );
    assertStringIncludes(message, `not finite first was the weight ${weight}.`);
    assertStringIncludes(message, "nothing was kept");
    // Finite weights whose products are not.
    const wide = changedModel(`${dir}/wide`, "model.layers.2.input_layernorm.weight", (w) => w.fill(6e4));
    const huge = changedModel(`${dir}/huge`, "model.layers.2.self_attn.v_proj.weight", (w) => w.fill(6e4));
    for (const model of [wide, huge]) {
      const { result } = await fineTuned(`${dir}/b`, [
        ...TINY,
        "--method",
        "lora",
        "--model",
        model,
        "--steps",
        "1",
      ]);
      // Either is finite or is explained; f32 holds more than f16 does.
      if (result instanceof UserError) assertStringIncludes(result.message, "model.layers.2");
      Deno.removeSync(`${dir}/b`, { recursive: true });
    }
  }));

Deno.test("a rate that is far too high is found in the parameters, and the last checkpoint stands", () =>
  inTempDir(async (dir) => {
    const out = `${dir}/a`;
    const far = ["--lr", "1e18", "--schedule", "constant", "--warmup", "0", "--target", "all-linear"];
    const run = await fineTuned(out, [
      ...TINY,
      ...far,
      "--method",
      "lora",
      "--save-every",
      "1",
      "--steps",
      "9",
    ]);
    const message = refused(run);
    assertMatch(
      message,
      /^step \d+: the loss is (NaN|Infinity) on .*; not finite first was the (input|result) of /,
    );
    assertStringIncludes(message, `${out}/checkpoints/step-${checkpointSteps(out).at(-1)} stands: --resume`);
  }));

Deno.test("a second process is kept out of a run's directory, a dead one's lock is not in the way", () =>
  inTempDir(async (dir) => {
    const out = `${dir}/a`;
    const child = new Deno.Command(Deno.execPath(), {
      args: ["run", "-A", "--no-check", `${root}/train.ts`, ...TINY, "--steps", "100000", "--out", out],
      stdout: "null",
      stderr: "null",
    }).spawn();
    try {
      while (checkpointSteps(out).length === 0) await new Promise((resume) => setTimeout(resume, 50));
      for (const more of [[], ["--resume"]]) {
        const message = refused(await fineTuned(out, [...TINY, "--steps", "2", ...more]));
        assertStringIncludes(message, `--out ${out}: process ${child.pid} is training into it`);
      }
    } finally {
      child.kill("SIGKILL");
      await child.status;
    }
    const step = checkpointSteps(out).at(-1)!;
    done(await fineTuned(out, ["--resume", "--steps", String(step)]));
    assert(![...Deno.readDirSync(out)].some((e) => e.name === ".run.lock"), "the lock is left");
  }));

Deno.test("a directory that takes no files is refused before anything is computed", async () => {
  const message = refused(await fineTuned("/proc/gyre", [...TINY, "--steps", "1"]));
  assertMatch(message, /^--out \/proc\/gyre: cannot be written to \(.*\); give another directory\.$/);
});

/** Mount a file system of this many KiB; false where that is not allowed. */
async function mountTiny(dir: string, size: number): Promise<boolean> {
  Deno.mkdirSync(dir);
  if (Deno.build.os !== "linux") return false;
  const mount = new Deno.Command("mount", {
    args: ["-t", "tmpfs", "-o", `size=${size}k`, "tmpfs", dir],
    stderr: "null",
  });
  return await mount.output().then((o) => o.success, () => false);
}

Deno.test("a full disk is named, checkpoints that were there stay, and the run goes on once there is room", () =>
  inTempDir(async (dir) => {
    const disk = `${dir}/disk`, out = `${disk}/a`;
    if (!await mountTiny(disk, 16_000)) {
      console.log("skipped: no small file system can be mounted here");
      return;
    }
    const umount = () => new Deno.Command("umount", { args: [disk] }).output();
    try {
      const argv = [...TINY, "--method", "lora", "--rank", "8", "--save-every", "1", "--keep", "1"];
      done(await fineTuned(out, [...argv, "--steps", "1"]));
      Deno.writeFileSync(`${disk}/ballast`, new Uint8Array(roomIn(disk)));
      const message = refused(await fineTuned(out, ["--resume", "--steps", "3"]));
      assertMatch(message, /there is no space left for it \(.*os error 28\)\); free some/);
      assertStringIncludes(message, out);
      assertEquals(checkpointSteps(out), [1]);
      Deno.removeSync(`${disk}/ballast`);
      assertEquals(done(await fineTuned(out, ["--resume", "--steps", "3"])).steps, 3);
    } finally {
      await umount();
    }
  }));

/** Bytes that can still be written, almost all. */
function roomIn(dir: string): number {
  const path = `${dir}/probe`;
  let bytes = 0;
  {
    using file = Deno.openSync(path, { write: true, create: true });
    try {
      for (;;) bytes += file.writeSync(new Uint8Array(4096));
    } catch (error) {
      if (!/os error 28/.test(String(error))) throw error;
    }
  }
  Deno.removeSync(path);
  return bytes - 8192;
}

const gpu = await openGpu({ software: true, provider: "deno" });
await gpu?.close();
if (!gpu) console.log("skipped: lost devices, since there is no WebGPU adapter");

Deno.test({
  name:
    "a device that goes away is reported, and the run goes on from its checkpoint to the same numbers, once",
  ignore: !gpu,
  fn: () =>
    inTempDir(async (dir) => {
      const argv = [...TINY, "--device", "gpu:deno", "--method", "lora", "--save-every", "2", "--steps", "6"];
      done(await fineTuned(`${dir}/whole`, argv));
      const opened: GPUDevice[] = [];
      const real = GPUAdapter.prototype.requestDevice;
      GPUAdapter.prototype.requestDevice = async function (...args) {
        const device = await real.apply(this, args);
        opened.push(device);
        return device;
      };
      try {
        for (const losses of [1, 2]) {
          const out = `${dir}/${losses}`;
          opened.length = 0;
          const destroyed = new Set<GPUDevice>();
          const stop = (): boolean => {
            const last = opened.at(-1);
            if (last && destroyed.size < losses && !destroyed.has(last) && checkpointSteps(out).length > 0) {
              destroyed.add(last);
              last.destroy();
            }
            return false;
          };
          const run = await fineTuned(out, argv, stop);
          assertEquals(destroyed.size, losses);
          assertMatch(run.said, /was lost: .*Going on from the newest checkpoint, this once\./);
          if (losses === 2) {
            assertMatch(refused(run), /was lost/);
            continue;
          }
          assertEquals(done(run).steps, 6);
          const adapter = (of: string): Uint8Array =>
            Deno.readFileSync(`${dir}/${of}/adapter/adapter.safetensors`);
          assertEquals(adapter("1"), adapter("whole"));
        }
      } finally {
        GPUAdapter.prototype.requestDevice = real;
      }
    }),
});
