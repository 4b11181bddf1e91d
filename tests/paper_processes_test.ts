/** Processes that make the runs of the paper's suites: a pool of them, their talk, what is told meanwhile. @module */
import { assert, assertEquals, assertRejects, assertStringIncludes, assertThrows } from "@std/assert";
import { narrate } from "../examples/paper/narrator.ts";
import { requirePython } from "../examples/paper/peft.ts";
import { doAll } from "../examples/paper/pool.ts";
import { talkTo } from "../examples/paper/talker.ts";
import { UserError } from "../train/mod.ts";
import { inTempDir } from "./runs.ts";

Deno.test("a pool: each item once, by turns, like ones to one process; failures told of, kinds that never go well left", async () => {
  const said: string[] = [], done: string[] = [], failed: string[] = [];
  let running = 0, started = 0;
  const start = () => {
    running++, started++;
    return {
      ask: () => Promise.reject(new Error("unused")),
      peakBytes: () => null,
      lastSaid: () => "",
      [Symbol.asyncDispose]: () => Promise.resolve(void running--),
    };
  };
  const pool = (failing: readonly string[], late = () => false, again = true) => ({
    runs: { start },
    ...{ jobs: 2, late, kind: (item: string) => item[0]!, turn: (item: string) => Number(item[1]) },
    name: (item: string) => item,
    make: async (_: unknown, item: string) => {
      await new Promise((resume) => setTimeout(resume, 1));
      if (failing.includes(item)) throw new UserError("no");
      done.push(item);
      return again;
    },
    failed: (item: string, reason: string) => void failed.push(`${item} ${reason}`),
    narrator: narrate((line) => void said.push(line.trim().replace(/^0s +/, ""))),
  });
  assertEquals(await doAll(["a0", "b0", "a1", "b1", "c0"], pool(["b1"])), { left: 1, failed: 1 });
  // Each process begins with a kind of its own; what is of turn 0 comes before what is of turn 1.
  assertEquals([done.slice(0, 3).sort(), done[3]], [["a0", "b0", "c0"], "a1"]);
  assertEquals([said, failed, running], [["b1 FAILED: no"], ["b1 no"], 0]);
  assertEquals(await doAll(["a0", "a1"], pool([], () => true)), { left: 2, failed: 0 });
  done.splice(0), said.splice(0), failed.splice(0);
  const all = ["a0", "a1", "a2", "a3", "b0", "b1", "b2"];
  assertEquals(await doAll(all, pool(["a0", "a1", "a2", "a3"])), { left: 4, failed: 2 });
  assertEquals([done, failed], [["b0", "b1", "b2"], ["a0 no", "a1 no"]]);
  assertStringIncludes(said.join(), "a: 2 further runs are left");
  const many = ["a0", "b0", "c0", "d0", "e0", "f0", "g0"];
  const nothing = await doAll(many, { ...pool(many), jobs: 1 });
  assertEquals([nothing, said.at(-1)], [
    { left: 7, failed: 4 },
    "3 further runs are left, since none goes well",
  ]);
  started = 0;
  await doAll(["a0", "a1"], { ...pool([], () => false, false), jobs: 1 });
  assertEquals([started, running], [2, 0]);
});

Deno.test("what is under way is told where nothing else is", async () => {
  const said: string[] = [];
  using narrator = narrate((line) => void said.push(line), 20);
  let heard = "";
  await narrator.during("lora", () => heard, async () => {
    heard = "step 3/9";
    while (said.length < 2) await new Promise((resume) => setTimeout(resume, 5));
  });
  assertStringIncludes(said[0]!, "under way: lora, for 0 s, last: step 3/9");
  const { length } = said;
  await new Promise((resume) => setTimeout(resume, 60));
  assertEquals(said.length, length);
});

Deno.test("a process answers line by line; one that ends tells why; one that gives no sign of life is ended", async () => {
  await inTempDir(async (dir) => {
    const program = `${dir}/echo.js`;
    Deno.writeTextFileSync(
      program,
      `import { createInterface } from "node:readline";
const pause = (ms) => new Promise((resume) => setTimeout(resume, ms));
for await (const line of createInterface({ input: process.stdin })) {
  if (line === '"end"') { console.error("no more"); process.exit(3); }
  if (line === '"slow"') for (let i = 0; i < 8; i++) { await pause(300); console.error(i < 4 ? "at " + i : ""); }
  if (line === '"held"') {
    const { spawn } = await import("node:child_process");
    spawn("sleep", ["20"], { stdio: ["ignore", "inherit", "inherit"] });
    console.error("held");
    for (;;) {}
  }
  if (line === '"stuck"') { console.error("into the dark"); for (;;) {} }
  console.log(line);
}`,
    );
    const args = ["run", "-A", program];
    await using process = talkTo(Deno.execPath(), args);
    for (const said of [{ ä: [1, null] }, "x".repeat(200_000)]) assertEquals(await process.ask(said), said);
    await assertRejects(() => process.ask("end"), UserError, "ended with code 3: no more");
    await assertRejects(() => process.ask(1), UserError, "ended with code 3");
    assertThrows(() => talkTo(`${dir}/nothing`, []), UserError, "not found");
    const heard: string[] = [];
    await using watched = talkTo(Deno.execPath(), args, {
      patience: 2,
      heard: (line) => void heard.push(line),
    });
    // It takes longer than the patience in all.
    assertEquals(await watched.ask("slow"), "slow");
    assertEquals([heard, watched.lastSaid()], [["at 0", "at 1", "at 2", "at 3"], "at 3"]);
    await assertRejects(
      () => watched.ask("stuck"),
      UserError,
      "no sign of life for 2 s and was ended; the last",
    );
    await assertRejects(() => watched.ask(1), UserError, "into the dark");
    // What it has started keeps its output open.
    await using holding = talkTo(Deno.execPath(), args, { patience: 2 });
    const begun = performance.now();
    await assertRejects(() => holding.ask("held"), UserError, "was ended; the last it said: held");
    assert(performance.now() - begun < 15_000);
  });
});

Deno.test("a Python is asked for what it has before anything runs", () => {
  assertThrows(() => requirePython("/no/python"), UserError, "/no/python: not found");
  const error = assertThrows(() => requirePython(Deno.execPath()), UserError);
  assertStringIncludes(error.message, "is no Python 3");
});
