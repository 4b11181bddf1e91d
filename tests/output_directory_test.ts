/** Directories to write into: those with files of somebody else are refused, before anything is in them. */
import { assertEquals, assertThrows } from "@std/assert";
import { isOfPaper } from "../examples/paper/records.ts";
import { UserError } from "../train/mod.ts";
import { refuseFull } from "../train/output_directory.ts";
import { checkOutput } from "../train/run_output.ts";
import { fineTuned, inTempDir } from "./runs.ts";

function write(path: string, text = ""): void {
  Deno.mkdirSync(path.slice(0, path.lastIndexOf("/")), { recursive: true });
  Deno.writeTextFileSync(path, text);
}

Deno.test("a run is not begun beside files of others, whatever their names are", () =>
  inTempDir((dir) => {
    const check = (config: string | null = null): void =>
      checkOutput({ out: `${dir}/out`, resume: false, config });
    const refusal = (): string => assertThrows(check, UserError).message.replaceAll(`${dir}/`, "");
    const isThere = (name: string, what = "a run"): string =>
      `--out out: out/${name} is there, and not of ${what}; give a new or empty directory.`;
    check();
    Deno.mkdirSync(`${dir}/out`);
    check();
    // What comes of a shell's redirection, of a system, of a write that was cut off.
    for (const name of [".DS_Store", "train.log", "slurm-1.out", "config.json.0a1b2c3d.partial"]) {
      write(`${dir}/out/${name}`);
    }
    check();
    write(`${dir}/out/flags.toml`);
    check(`${dir}/out/../out/flags.toml`);
    assertEquals(refusal(), isThere("flags.toml"));
    // A model's directory, whose config.json a run would write over.
    write(`${dir}/out/config.json`);
    assertEquals(refusal(), isThere("config.json"));
    // A run that was ended before its first checkpoint may be begun again.
    write(`${dir}/out/metrics.jsonl`);
    check();
    write(`${dir}/out/adapter/adapter.json`);
    assertEquals(
      refusal(),
      "--out out: out/adapter is there from an earlier run; give another directory.",
    );
  }));

Deno.test("a refused run leaves the files of others as they were", () =>
  inTempDir(async (dir) => {
    write(`${dir}/config.json`, "theirs");
    const { result } = await fineTuned(dir, ["--device", "cpu", "--steps", "1"]);
    assertEquals(
      (result as UserError).message,
      `--out ${dir}: ${dir}/config.json is there, and not of a run; give a new or empty directory.`,
    );
    assertEquals([...Deno.readDirSync(dir)].map(({ name }) => name), ["config.json"]);
    assertEquals(Deno.readTextFileSync(`${dir}/config.json`), "theirs");
  }));

Deno.test("a merged model needs a directory of its own", () =>
  inTempDir((dir) => {
    refuseFull(`${dir}/out`);
    refuseFull(dir);
    write(`${dir}/b.txt`);
    write(`${dir}/a.txt`);
    for (const [out, found] of [[dir, `${dir}/a.txt`], [`${dir}/b.txt`, `${dir}/b.txt`]]) {
      assertEquals(
        assertThrows(() => refuseFull(out!), UserError).message,
        `--out ${out}: ${found} is there already; give a new or empty directory.`,
      );
    }
  }));

Deno.test("a comparison knows its directory by its results, or by the place for work", () =>
  inTempDir((dir) => {
    const work = `${dir}/work`, place = { out: dir, work: `${work}/here` };
    for (const name of ["work", "notes.md"]) write(`${dir}/${name}/x`);
    assertEquals([isOfPaper(place, "work"), isOfPaper(place, "notes.md")], [false, false]);
    write(`${place.work}/data/cola-train.tsv`);
    assertEquals([isOfPaper(place, "work"), isOfPaper(place, "notes.md")], [true, false]);
    write(`${dir}/peft.jsonl`);
    assertEquals(isOfPaper(place, "notes.md"), true);
  }));
