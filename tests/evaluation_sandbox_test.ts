/** Programs that nobody has read: what the sandbox keeps from them, how they are judged, HumanEval. @module */
import {
  assert,
  assertAlmostEquals,
  assertEquals,
  assertRejects,
  assertStringIncludes,
  assertThrows,
} from "@std/assert";
import * as fc from "fast-check";
import { DataError, OptionError } from "../train/errors.ts";
import { judge, passAtK, testProgram } from "../train/evaluation/humaneval.ts";
import { chatRequest, completionIn } from "../train/evaluation/humaneval_chat.ts";
import { parseCompletions, parseProblems } from "../train/evaluation/humaneval_files.ts";
import { probeProgram } from "../train/evaluation/probe.ts";
import type { Evaluation } from "../train/evaluation/run.ts";
import {
  findPython,
  findSandbox,
  KEPT,
  type ProgramEnd,
  requireSandbox,
} from "../train/evaluation/sandbox.ts";
import { FILE_BYTES, type Limits, MOST_PROCESSES } from "../train/evaluation/sandbox_commands.ts";
import { runProgramFile, sharedData } from "./evaluation_examinee.ts";

const python = await findPython("python3");
const { sandbox, problems } = python
  ? await findSandbox(python)
  : { sandbox: null, problems: ["there is no python3"] };
if (!sandbox) console.log(`skipped: programs in a sandbox, since there is none (${problems.join("; ")})`);

const LIMITS: Limits = { seconds: 10, memoryBytes: 2 ** 28 };

/** A test of what programs in the sandbox can do. */
function inside(
  name: string,
  run: (go: (program: string, limits?: Limits) => Promise<ProgramEnd>) => Promise<void>,
): void {
  Deno.test({
    name: `sandbox: ${name}`,
    ignore: !sandbox,
    fn: () => run((program, limits = LIMITS) => sandbox!.run(program, limits)),
  });
}

/** Processes of this machine that run a program of a sandbox. */
function running(): number {
  let count = 0;
  for (const { name } of Deno.readDirSync("/proc")) {
    if (!/^\d+$/.test(name)) continue;
    try {
      const line = Deno.readTextFileSync(`/proc/${name}/cmdline`).split("\0");
      if (line.includes("/tmp/program.py") && !line.includes("unshare") && !line.includes("timeout")) count++;
    } catch {
      // It ended meanwhile.
    }
  }
  return count;
}

async function nothingLeft(): Promise<void> {
  for (let i = 0; i < 50 && running() > 0; i++) await new Promise((resume) => setTimeout(resume, 100));
  assertEquals(running(), 0);
}

inside("a program runs, with its output and exit status", async (go) => {
  const end = await go(`import sys\nprint("é" * 3)\nprint("no", file=sys.stderr)\nsys.exit(3)`);
  assertEquals(end, { code: 3, timedOut: false, output: "ééé\n", error: "no\n" });
});

inside("it neither reads nor writes the files of this machine", async (go) => {
  const dir = await Deno.makeTempDir();
  try {
    Deno.writeTextFileSync(`${dir}/secret`, "seen");
    const { output, code } = await go(`
import os
for path in [${JSON.stringify(`${dir}/secret`)}, "/etc/passwd", "/proc/1/environ", "/old/etc/passwd"]:
    try:
        print("read", open(path).read())
    except OSError:
        pass
for path in [${
      JSON.stringify(dir)
    }, "/", "/usr", "/usr/lib", "/bin", "/dev", "/old", "/root", os.path.dirname(os.__file__)]:
    try:
        open(path + "/written", "w").write("x")
        print("wrote", path)
    except OSError:
        pass
os.makedirs("/tmp/own/deep")
open("/tmp/own/deep/file", "w").write("fine")
print(open("/tmp/own/deep/file").read())
`);
    assertEquals([code, output], [0, "fine\n"]);
    assertEquals([...Deno.readDirSync(dir)].map((e) => e.name), ["secret"]);
  } finally {
    await Deno.remove(dir, { recursive: true });
  }
});

inside("each program has a /tmp of its own", async (go) => {
  const look = `import os\nprint(sorted(os.listdir("/tmp")))\nopen("/tmp/left", "w").write("x")`;
  await go(look);
  assertEquals((await go(look)).output, "['program.py']\n");
});

inside("it reaches no network", async (go) => {
  using listener = Deno.listen({ hostname: "127.0.0.1", port: 0 });
  let met = false;
  const accepted = listener.accept().then((c) => {
    met = true;
    c.close();
  }, () => {});
  const { output } = await go(`
import socket
for kind, at in [(socket.SOCK_STREAM, ("127.0.0.1", ${listener.addr.port})), (socket.SOCK_DGRAM, ("192.0.2.1", 9))]:
    try:
        with socket.socket(socket.AF_INET, kind) as s:
            s.settimeout(2)
            s.connect(at)
            s.send(b"x")
        print("sent")
    except OSError as error:
        print("refused")
`);
  assertEquals([output, met], ["refused\nrefused\n", false]);
  listener.close();
  await accepted;
});

inside("it gets no variables of the environment", async (go) => {
  Deno.env.set("GYRE_TEST_SECRET", "seen");
  try {
    const { output } = await go("import os\nprint(dict(os.environ))");
    assert(!output.includes("seen") && output.includes("PATH"), output);
  } finally {
    Deno.env.delete("GYRE_TEST_SECRET");
  }
});

inside("memory, sizes of files and numbers of processes have limits", async (go) => {
  const { output, code } = await go(`
import os, time
try:
    x = bytearray(${2 * LIMITS.memoryBytes})
    print("took memory")
except MemoryError:
    print("no memory")
total = 0
try:
    with open("/tmp/large", "wb") as f:
        while True:
            total += f.write(b"x" * 2**16)
except OSError:
    print("large", total <= ${FILE_BYTES})
os.remove("/tmp/large")
children = 0
try:
    while children < 100:
        if os.fork() == 0:
            time.sleep(100)
            os._exit(0)
        children += 1
except OSError:
    pass
print("children", children <= ${MOST_PROCESSES})
`);
  assertEquals([code, output], [0, "no memory\nlarge True\nchildren True\n"]);
  await nothingLeft();
});

inside("what it eats is given back: memory, a bomb of processes, an endless loop", async (go) => {
  const eaten = await go(`x = []\nwhile True: x.append(bytearray(2**20))`);
  assertEquals([eaten.code, eaten.timedOut], [1, false]);
  assertStringIncludes(eaten.error, "MemoryError");
  const limits = { ...LIMITS, seconds: 2 };
  for (
    const program of [
      `import os\nwhile True:\n  try: os.fork()\n  except OSError: pass`,
      "while True: pass",
      "import time\ntime.sleep(1000)",
      // Ignores what can be ignored.
      "import signal, time\nsignal.signal(signal.SIGTERM, signal.SIG_IGN)\nsignal.signal(signal.SIGINT, signal.SIG_IGN)\ntime.sleep(1000)",
    ]
  ) {
    const begun = performance.now();
    const end = await go(program, limits);
    assert(end.timedOut, JSON.stringify(end));
    assert(performance.now() - begun < 6000);
    await nothingLeft();
  }
});

inside("output without end is cut, and what stays behind is ended", async (go) => {
  const flood = await go(`import sys\nwhile True: sys.stdout.write("x" * 65536)`, { ...LIMITS, seconds: 2 });
  assert(flood.timedOut);
  assertEquals(flood.output.length, KEPT);
  const left = await go(`
import os, time
if os.fork() == 0:
    os.setsid()
    time.sleep(1000)
print("gone")
`);
  assertEquals([left.output, left.timedOut], ["gone\n", false]);
  await nothingLeft();
});

Deno.test(
  { name: "sandbox: the probe finds what an open place allows", ignore: !python || !sandbox },
  async () => {
    const open = await requireSandbox(python!, true);
    assertStringIncludes(open.name, "none");
    const dir = await Deno.makeTempDir();
    using listener = Deno.listen({ hostname: "127.0.0.1", port: 0 });
    const accepted = listener.accept().then((c) => c.close(), () => {});
    try {
      Deno.writeTextFileSync(`${dir}/file`, "seen");
      const forbidden = {
        file: `${dir}/file`,
        port: listener.addr.port,
        memoryBytes: 2 ** 20,
        directories: [],
      };
      const { output } = await open.run(probeProgram(forbidden), LIMITS);
      const found = JSON.parse(output) as readonly string[];
      for (
        const what of [
          "reads files",
          `writes to ${dir}`,
          "writes large files",
          "opens connections",
          "takes memory",
          "starts any number of processes",
        ]
      ) {
        assert(found.includes(what), `${what} is not among ${output}`);
      }
      assertEquals([...Deno.readDirSync(dir)].length, 1);
    } finally {
      listener.close();
      await accepted;
      await Deno.remove(dir, { recursive: true });
    }
  },
);

Deno.test("sandbox: without one nothing runs, and the message says how it could", async () => {
  const nowhere = { path: "/nowhere/python3", prefixes: [] };
  const error = await assertRejects(() => requireSandbox(nowhere, false), OptionError);
  assertStringIncludes(error.message, "--unsafe-run");
  assertEquals(await findPython("no-such-python"), null);
});

Deno.test("humaneval: pass@k is the share of all draws of k programs with one that passes", () => {
  fc.assert(fc.property(fc.array(fc.boolean(), { minLength: 1, maxLength: 9 }), fc.nat(), (passed, pick) => {
    const n = passed.length, k = 1 + pick % n;
    let draws = 0, good = 0;
    for (let set = 0; set < 2 ** n; set++) {
      const members = passed.filter((_, i) => set >> i & 1);
      if (members.length !== k) continue;
      draws++;
      if (members.some((p) => p)) good++;
    }
    assertAlmostEquals(passAtK(n, passed.filter((p) => p).length, k), good / draws, 1e-12);
  }));
  assertEquals([passAtK(200, 0, 100), passAtK(200, 200, 1)], [0, 1]);
  assertThrows(() => passAtK(5, 1, 6), RangeError, "pass@6 of 5");
});

Deno.test("humaneval: broken files are named", () => {
  const row = { task_id: "a/0", prompt: "def f():\n", entry_point: "f", test: "def check(c): pass\n" };
  const parse = (...rows: unknown[]) =>
    parseProblems(rows.map((r) => JSON.stringify(r)).join("\n"), "p.jsonl");
  const [problem] = parse(row);
  assertEquals(problem, { id: "a/0", prompt: row.prompt, test: row.test, entry: "f" });
  const wrong: [() => unknown, string][] = [
    [() => parse(row, { ...row, test: 3 }), "p.jsonl:2: test is 3; expected a text"],
    [() => parse({ ...row, entry_point: "f); evil(" }), `p.jsonl:1: entry_point is "f); evil("`],
    [() => parse(), "p.jsonl: has no problems"],
    [() => parse("x"), "p.jsonl:1: entry_point is absent"],
    [
      () => parseCompletions(`{"task_id":"a/1","completion":""}`, "c.jsonl", [problem!]),
      "c.jsonl: has no completion for a/0",
    ],
    [
      () => parseCompletions(`{"task_id":"a/0"}`, "c.jsonl", [problem!]),
      `c.jsonl:1: expected {"task_id", "completion"}`,
    ],
  ];
  for (const [act, message] of wrong) assertThrows(act, DataError, message);
});

inside("programs are judged by their tests, not by how they leave", async (go) => {
  const problem = {
    id: "a/0",
    prompt: "def double(n):\n",
    entry: "double",
    test: "def check(candidate):\n    assert candidate(2) == 4\n    assert candidate(-1) == -2\n",
  };
  const cases: [string, string][] = [
    ["    return 2 * n\n", "passed"],
    ["    return 2 * n", "passed"],
    ["    return n * n\n", "AssertionError"],
    ["    return 2 n\n", "SyntaxError: invalid syntax"],
    ["    return n / 0\n", "ZeroDivisionError: division by zero"],
    ["    import sys; sys.exit(0)\n", "ended before its tests were through"],
    ["    import os; os._exit(0)\n", "ended before its tests were through"],
    ["    while True: pass\n", "timed out"],
  ];
  for (const [completion, expected] of cases) {
    const end = await go(testProgram(problem, completion, "token"), { ...LIMITS, seconds: 3 });
    assertEquals(judge(end, "token"), expected, completion);
  }
});

inside("code is found in the answers of a chat", async (go) => {
  const problem = {
    id: "a/0",
    prompt: 'import math\n\ndef double(n):\n    """ Twice n. """\n',
    entry: "double",
    test: "def check(candidate):\n    assert candidate(2) == 4\n",
  };
  assertStringIncludes(chatRequest(problem), problem.prompt.trim());
  const whole = "def double(n):\n    return int(math.fabs(2 * n))";
  const cases: [string, string][] = [
    [`Here it is:\n\`\`\`python\n${whole}\n\`\`\`\nIt doubles.`, "passed"],
    [`\`\`\`\n    return 2 * n\n\`\`\``, "passed"],
    [`\`\`\`sh\npip install x\n\`\`\`\n\`\`\`python\n${whole}\n\`\`\``, "passed"],
    // Cut off by the limit of tokens, after the function.
    [`\`\`\`python\n${whole}\n`, "passed"],
    [whole, "passed"],
    ["    return 2 * n", "passed"],
    ["I cannot do that.", "SyntaxError"],
    [`\`\`\`python\ndef double(n):\n    return n\n\`\`\``, "AssertionError"],
  ];
  for (const [answer, expected] of cases) {
    const end = await go(testProgram(problem, completionIn(answer, problem), "token"));
    assertStringIncludes(judge(end, "token"), expected, answer);
  }
});

const published = sharedData("humaneval/HumanEval.jsonl.gz");
Deno.test(
  { name: "humaneval: the canonical solutions all pass", ignore: !sandbox || published === null },
  async () => {
    const dir = await Deno.makeTempDir();
    try {
      const unpacked = new Blob([Deno.readFileSync(published!)]).stream().pipeThrough(
        new DecompressionStream("gzip"),
      );
      const rows = (await new Response(unpacked).text()).trim().split("\n")
        .map((line) => JSON.parse(line) as { readonly task_id: string; readonly canonical_solution: string });
      const answers = rows.map((r) =>
        JSON.stringify({ task_id: r.task_id, completion: r.canonical_solution })
      );
      Deno.writeTextFileSync(`${dir}/answers`, answers.join("\n"));
      const { code, out, err } = await runProgramFile(
        "evaluate.ts",
        ...[
          "--task",
          "humaneval",
          "--data",
          published!,
          "--answers",
          `${dir}/answers`,
          "--timeout",
          "60",
          "--json",
        ],
      );
      assertEquals(code, 0, err);
      const { metrics, model } = JSON.parse(out) as Evaluation;
      assertEquals([metrics["pass@1"], metrics["programs"], model], [1, 164, null]);
    } finally {
      await Deno.remove(dir, { recursive: true });
    }
  },
);
